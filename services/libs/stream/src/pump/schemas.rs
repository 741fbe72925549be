//! Schemas that this build does not know: who is asked for them.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::{
    EventLog, LogError, Record,
    schema_topic::{self, SchemaTopicError},
};

/// Finds schemas of other builds.
#[async_trait]
pub trait SchemaLookup: Send + Sync + 'static {
    /// True: records of this schema can be decoded from now on.
    async fn find(&self, log: &Arc<dyn EventLog>, schema_id: u32) -> Result<bool, LogError>;
}

/// What becomes of a record whose schema this process does not know.
#[derive(Clone, Default)]
pub enum UnknownSchema {
    /// Looked up in `stream.schemas`; until it is there the record's partition waits.
    #[default]
    LookUp,
    /// As `LookUp`, but somebody else is asked.
    Ask(Arc<dyn SchemaLookup>),
    /// The handler gets it: it does not decode.
    HandOver,
}

impl fmt::Debug for UnknownSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LookUp => "LookUp",
            Self::Ask(_) => "Ask",
            Self::HandOver => "HandOver",
        })
    }
}

impl UnknownSchema {
    /// The id, when this record has to wait for it.
    pub fn of(&self, record: &Record) -> Option<u32> {
        if matches!(self, Self::HandOver) {
            return None;
        }
        match schemas::topic_of(record.value.as_deref()?) {
            Err(schemas::DecodeError::UnknownSchema(id)) => Some(id),
            _ => None,
        }
    }

    pub fn find(&self, log: &Arc<dyn EventLog>, id: u32) -> BoxFuture<'static, (u32, Result<bool, LogError>)> {
        let log = log.clone();
        match self {
            Self::Ask(lookup) => {
                let lookup = lookup.clone();
                Box::pin(async move { (id, lookup.find(&log, id).await) })
            }
            Self::LookUp | Self::HandOver => Box::pin(async move { (id, in_stream(&log, id).await) }),
        }
    }
}

/// A schema that is there and cannot be used is as good as none; the error says why.
async fn in_stream(log: &Arc<dyn EventLog>, schema_id: u32) -> Result<bool, LogError> {
    match schema_topic::learn(log, schema_id).await {
        Ok(found) => Ok(found),
        Err(SchemaTopicError::Log(error)) => Err(error),
        Err(error) => {
            tracing::error!(schema.id = schema_id, %error, "stream.schemas has the schema, but it cannot be used");
            Ok(false)
        }
    }
}
