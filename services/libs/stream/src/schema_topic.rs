//! `stream.schemas`: every process writes the schemas of its build that are missing there, and looks up the ids that it does not have.
//!
//! A schema is never replaced: another text under an id that is there already is an error to be shouted about, because readers would
//! take one record for another. The records of this topic are written with its own schema, which is why that one may only be changed
//! when every reader has the change.

use std::{collections::HashMap, sync::Arc};

use schemas::{Event, LearnError, StreamSchema, TopicSpec, all_topics, stream_schema};

use crate::{Client, EventLog, LogError, Walk};

#[derive(Debug, thiserror::Error)]
pub enum SchemaTopicError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Learn(#[from] LearnError),
}

/// Writes the built-in schemas that are missing, retired ones too. How many that were; they are on their way, not yet in the log.
pub async fn publish_missing(client: &Client) -> Result<usize, LogError> {
    let mut there: HashMap<u32, StreamSchema> = HashMap::new();
    let mut walk = Walk::through(&client.log, &[StreamSchema::TOPIC]).await?;
    while let Some(records) = walk.next().await? {
        let values = records.iter().filter_map(|record| record.value.as_deref());
        there.extend(values.filter_map(|value| schemas::decode(value).ok()).map(|s: StreamSchema| (s.schema_id, s)));
    }
    let mut written = 0;
    for schema in all_topics().iter().flat_map(|topic| of_topic(topic)) {
        match there.get(&schema.schema_id) {
            None => {
                client.publisher.publish(schema);
                written += 1;
            }
            // Learning what we know already compares.
            Some(known) => {
                if let Err(error) = schemas::learn(known.schema_id, &known.topic, &known.schema) {
                    tracing::error!(schema.id = known.key(), %error, "stream.schemas holds another schema under an id of this build");
                }
            }
        }
    }
    Ok(written)
}

/// Everything that was ever written to a topic by a build like this one, oldest first.
fn of_topic(topic: &'static TopicSpec) -> impl Iterator<Item = StreamSchema> {
    (1..).zip(topic.schemas()).map(|(version, (schema_id, schema))| StreamSchema {
        event_type: "schema".to_owned(),
        schema_id,
        subject: stream_schema::subject_of(topic.name),
        topic: topic.name.to_owned(),
        version,
        schema: schema.to_owned(),
        ..StreamSchema::default()
    })
}

/// The schema with this id, as the topic has it now. Reads one partition.
pub async fn look_up(log: &Arc<dyn EventLog>, schema_id: u32) -> Result<Option<StreamSchema>, LogError> {
    let key = stream_schema::key_of(schema_id);
    let topic = StreamSchema::TOPIC;
    let partition = domain::partition::for_key(key.as_bytes(), topic.partitions);
    let mut found = None;
    let mut walk = Walk::through_part(log, topic, partition).await?;
    while let Some(records) = walk.next().await? {
        for record in records.iter().filter(|record| record.key == key.as_bytes()) {
            // What was written by a build whose `stream.schemas` is newer than ours cannot be read, and helps nobody here.
            found = record.value.as_deref().and_then(|value| schemas::decode(value).ok()).or(found);
        }
    }
    Ok(found)
}

/// Looks an unknown id up and learns it. True: records written with it can be read from now on.
pub async fn learn(log: &Arc<dyn EventLog>, schema_id: u32) -> Result<bool, SchemaTopicError> {
    match look_up(log, schema_id).await? {
        None => Ok(false),
        Some(found) => {
            if schemas::learn(schema_id, &found.topic, &found.schema)? {
                tracing::info!(
                    schema.id = found.key(),
                    kafka.topic = found.topic,
                    "learned the schema of another build"
                );
            }
            Ok(true)
        }
    }
}
