//! Why the edge does not start.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen for trunks or nodes: {0}")]
    Bind(#[from] kit::net::BindError),
    #[error("cannot prepare the socket of listener {listener}: {source}")]
    Socket { listener: String, source: std::io::Error },
    #[error("the edge has no listener with side = {side:?}")]
    NoListener { side: &'static str },
}
