//! The schemas that this process can read: those of the build, and those that it [learned](crate::learn) since.

use std::{collections::HashMap, sync::LazyLock};

use apache_avro::{Schema, reader::datum::GenericDatumReader, util::max_allocation_bytes};

use crate::{
    codec::MAX_FRAME_BYTES,
    identity, learned,
    topic::{TopicSpec, all_topics},
};

/// A schema with everything that reading needs, made once per process.
pub(crate) struct Known {
    pub topic: &'static TopicSpec,
    pub schema: &'static Schema,
    pub reader: GenericDatumReader<'static>,
    /// Whether every datum begins with the fields that [`crate::identity`] reads by hand.
    pub identity_first: bool,
}

impl Known {
    /// One schema per id and process: leaking it gives readers the lifetime that they have anyway.
    pub fn new(topic: &'static TopicSpec, schema: Schema) -> Result<Self, Box<apache_avro::Error>> {
        let schema: &'static Schema = Box::leak(Box::new(schema));
        Ok(Self {
            topic,
            schema,
            reader: GenericDatumReader::builder(schema).human_readable(false).build()?,
            identity_first: identity::stands_first(schema),
        })
    }
}

static BUILT_IN: LazyLock<HashMap<u32, Known>> = LazyLock::new(|| {
    max_allocation_bytes(MAX_FRAME_BYTES);
    let mut known = HashMap::new();
    for topic in all_topics() {
        for (id, text) in std::iter::once((topic.schema_id, topic.schema)).chain(topic.retired.iter().copied()) {
            let schema = Schema::parse_str(text).expect("a test parses every schema");
            let before = known.insert(id, Known::new(topic, schema).expect("a test resolves every schema"));
            assert!(before.is_none(), "a test keeps schema ids unique");
        }
    }
    known
});

/// Takes no lock: this is on the path of every record.
pub(crate) fn find(id: u32) -> Option<&'static Known> {
    BUILT_IN.get(&id).or_else(|| learned::find(id))
}
