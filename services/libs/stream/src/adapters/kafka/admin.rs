//! Topics on the cluster: made when missing, refused when their partitions differ, judged when they are there.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication},
    error::{IsError as _, RDKafkaErrorCode},
};
use schemas::TopicSpec;

use super::{
    ASK_TIMEOUT, KafkaConfig, blocking,
    client::Quiet,
    failed, secrets,
    topics::{Found, Weakness, topic_settings, weaknesses},
};
use crate::LogError;

/// How long until the cluster is asked again whether new topics are ready.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What the cluster has, by name on the cluster: replicas of each partition.
struct Cluster {
    brokers: Vec<i32>,
    topics: BTreeMap<String, Vec<Vec<i32>>>,
}

fn admin(config: &KafkaConfig) -> Result<AdminClient<Quiet>, LogError> {
    config.admin().create_with_context(Quiet).map_err(|e| config.unusable("admin client", &e))
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(ASK_TIMEOUT)).request_timeout(Some(ASK_TIMEOUT))
}

/// All topics at once: asking for one by name can make the broker create it with its own defaults.
async fn look(config: &KafkaConfig, topics: &[&'static TopicSpec]) -> Result<Cluster, LogError> {
    let admin = admin(config)?;
    let ours: BTreeSet<String> = topics.iter().map(|spec| config.topic(spec)).collect();
    blocking(move || {
        let what = "cannot list the topics";
        let metadata = admin.inner().fetch_metadata(None, ASK_TIMEOUT).map_err(|e| failed(what, &e))?;
        let mut topics = BTreeMap::new();
        for topic in metadata.topics().iter().filter(|t| ours.contains(t.name())) {
            // A topic that is just being made or moved has no partitions or leaders yet; that is no other number of them.
            let in_parts = topic.partitions().iter().filter(|p| p.leader() < 0).find_map(|p| p.error());
            if let Some(code) = topic.error().or(in_parts).filter(|code| code.is_error()) {
                let message = RDKafkaErrorCode::from(code).to_string();
                return Err(LogError::Kafka { what: format!("topic {}", topic.name()), message, fatal: false });
            }
            let mut partitions: Vec<_> = topic.partitions().iter().map(|p| (p.id(), p.replicas().to_vec())).collect();
            partitions.sort_unstable();
            topics.insert(topic.name().to_owned(), partitions.into_iter().map(|(_, replicas)| replicas).collect());
        }
        let mut brokers: Vec<i32> = metadata.brokers().iter().map(rdkafka::metadata::MetadataBroker::id).collect();
        brokers.sort_unstable();
        Ok(Cluster { brokers, topics })
    })
    .await
}

pub async fn ensure_topics(config: &KafkaConfig, topics: &[&'static TopicSpec]) -> Result<(), LogError> {
    let cluster = look(config, topics).await?;
    let mut missing = Vec::new();
    for spec in topics {
        let name = config.topic(spec);
        match cluster.topics.get(&name).map(Vec::len) {
            None => missing.push((*spec, name)),
            Some(found) if i32::try_from(found) != Ok(spec.partitions) => {
                let found = i32::try_from(found).unwrap_or(i32::MAX);
                return Err(LogError::Partitions { topic: name, found, wanted: spec.partitions });
            }
            Some(_) => {}
        }
    }
    if !missing.is_empty() {
        create(config, &missing, cluster.brokers.len()).await?;
        wait_for_leaders(config, topics).await?;
    }
    judge_aside(config.clone(), topics.to_vec());
    Ok(())
}

/// Says what is weaker than it should be. Nobody waits for it: a cluster that does not tell its settings lets the time run out, and who
/// may use topics need not be allowed to read their settings.
fn judge_aside(config: KafkaConfig, topics: Vec<&'static TopicSpec>) {
    let judge = async move {
        let cluster = look(&config, &topics).await?;
        judge(&config, &cluster, &topics).await
    };
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime.map(|runtime| runtime.block_on(judge)) {
            Ok(Ok(weak)) => weak.into_iter().for_each(|Weakness { topic, what, found, wanted, mend }| {
                tracing::warn!(
                    kafka.topic = topic,
                    what,
                    found,
                    wanted,
                    mend,
                    "a topic is weaker than it should be; nothing is changed by itself"
                );
            }),
            Ok(Err(error)) => tracing::info!(%error, "the settings of the topics could not be checked"),
            Err(error) => tracing::info!(%error, "the settings of the topics could not be checked"),
        }
    };
    if let Err(error) = std::thread::Builder::new().name("kafka-topics".into()).spawn(run) {
        tracing::info!(%error, "the settings of the topics could not be checked");
    }
}

/// What is weaker than it should be: settings of ours that undo a promise, then existing topics.
pub async fn weak(config: &KafkaConfig, topics: &[&'static TopicSpec]) -> Result<Vec<Weakness>, LogError> {
    let mut out: Vec<Weakness> = secrets::weaker(&config.extra)
        .into_iter()
        .map(|(key, found, wanted, why)| Weakness {
            topic: "every topic".to_owned(),
            mend: format!("take stream.kafka.extra.{key} out of the settings: {why}"),
            what: key,
            found,
            wanted: wanted.to_owned(),
        })
        .collect();
    let cluster = look(config, topics).await?;
    out.extend(judge(config, &cluster, topics).await?);
    Ok(out)
}

async fn judge(
    config: &KafkaConfig,
    cluster: &Cluster,
    topics: &[&'static TopicSpec],
) -> Result<Vec<Weakness>, LogError> {
    let there: Vec<(&TopicSpec, String)> = topics
        .iter()
        .map(|spec| (*spec, config.topic(spec)))
        .filter(|(_, name)| cluster.topics.contains_key(name))
        .collect();
    if there.is_empty() {
        return Ok(Vec::new());
    }
    let asked: Vec<ResourceSpecifier<'_>> = there.iter().map(|(_, name)| ResourceSpecifier::Topic(name)).collect();
    let what = "cannot read the settings of the topics";
    let answers = admin(config)?.describe_configs(&asked, &options()).await.map_err(|e| failed(what, &e))?;
    let mut settings: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for answer in answers {
        let answer = answer.map_err(|code| LogError::Kafka {
            what: what.to_owned(),
            message: code.to_string(),
            fatal: false,
        })?;
        if let OwnedResourceSpecifier::Topic(name) = answer.specifier {
            let entries = answer.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
            settings.insert(name, entries.collect());
        }
    }
    let none = BTreeMap::new();
    let mut out = Vec::new();
    for (spec, name) in &there {
        let found = Found { name, replicas: &cluster.topics[name], settings: settings.get(name).unwrap_or(&none) };
        out.extend(weaknesses(spec, &found, &cluster.brokers, &config.bootstrap));
    }
    Ok(out)
}

/// A new topic is announced before its partitions have leaders; who asks too early is told that it does not exist.
async fn wait_for_leaders(config: &KafkaConfig, topics: &[&'static TopicSpec]) -> Result<(), LogError> {
    let give_up = Instant::now() + ASK_TIMEOUT;
    loop {
        let led = match look(config, topics).await {
            Ok(cluster) => topics.iter().all(|spec| {
                cluster.topics.get(&config.topic(spec)).is_some_and(|p| i32::try_from(p.len()) == Ok(spec.partitions))
            }),
            Err(error) if Instant::now() >= give_up => return Err(error),
            Err(_) => false,
        };
        if led || Instant::now() >= give_up {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn create(
    config: &KafkaConfig,
    missing: &[(&'static TopicSpec, String)],
    brokers: usize,
) -> Result<(), LogError> {
    let settings: Vec<_> = missing.iter().map(|(spec, _)| topic_settings(spec, brokers)).collect();
    let new: Vec<NewTopic<'_>> = missing
        .iter()
        .zip(&settings)
        .map(|((spec, name), (copies, settings))| {
            let topic = NewTopic::new(name, spec.partitions, TopicReplication::Fixed(*copies));
            settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    let results =
        admin(config)?.create_topics(&new, &options()).await.map_err(|e| failed("cannot create topics", &e))?;
    for result in results {
        match result {
            Ok(topic) => tracing::info!(kafka.topic = topic, brokers, "topic created"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(LogError::Kafka {
                    what: format!("cannot create topic {topic}"),
                    message: format!(
                        "{code}; where topics are made by somebody else, give them what `trunkline topics create --print` says"
                    ),
                    fatal: false,
                });
            }
        }
    }
    Ok(())
}
