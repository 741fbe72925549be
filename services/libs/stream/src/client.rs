//! What a service is given: the log to read from and the publisher to write with.

use std::sync::Arc;

use crate::{EventLog, Publisher};

#[derive(Clone)]
pub struct Client {
    pub log: Arc<dyn EventLog>,
    pub publisher: Publisher,
}
