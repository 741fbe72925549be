//! The edge under the torture messages of RFC 4475 and RFC 5118: over datagrams and over a stream, each as it is and with every
//! mutator. What the library alone does with them is tested there; here they meet the whole proxy, with its trunk, its nodes and
//! its transactions.
//!
//! The trunk is a production trunk: the edge is no registrar, answers OPTIONS itself and takes an INVITE with a To-tag only with
//! its own cookie. Where the RFC's proxy would pass such a request on, this one gives one final answer instead.

mod bytes_on_the_wire;
mod hostile;
mod lab;
mod messages;
#[path = "../../../../libs/sip/tests/common/mutate.rs"]
mod mutate;
#[path = "../../../../libs/sip/tests/common/reread.rs"]
mod reread;
