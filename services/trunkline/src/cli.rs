//! The command line. Every command has `--help` with an example.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Debug, Parser)]
#[command(
    name = "trunkline",
    version,
    about = "An event-streaming voice platform for FreeSWITCH behind a SIP edge",
    propagate_version = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show calls flow: simulated carriers and switches, every service, an attack, a dead node and a rebuild, in one process
    #[command(after_help = "Example: trunkline demo --calls 2000 --rate 100 --exit --json")]
    Demo(DemoArgs),
    /// All services in one process on embedded stores
    #[command(after_help = "Example: trunkline standalone --config infra/config/standalone.toml")]
    Standalone(ConfigArgs),
    /// The SIP edge alone (needs Kafka: services in separate processes meet in its topics)
    #[command(after_help = "Example: trunkline edge --config infra/config/edge.toml")]
    Edge(EdgeArgs),
    /// The engine alone: drives FreeSWITCH over ESL
    #[command(after_help = "Example: trunkline engine --config infra/config/engine.toml")]
    Engine(ConfigArgs),
    /// Call records alone
    #[command(after_help = "Example: trunkline cdr --config infra/config/cdr.toml")]
    Cdr(ConfigArgs),
    /// Analytics alone
    #[command(after_help = "Example: trunkline analytics --config infra/config/analytics.toml")]
    Analytics(ConfigArgs),
    /// Fraud rules alone
    #[command(after_help = "Example: trunkline fraud --config infra/config/fraud.toml")]
    Fraud(ConfigArgs),
    /// Node weights from load alone
    #[command(after_help = "Example: trunkline capacity --config infra/config/capacity.toml")]
    Capacity(ConfigArgs),
    /// The api and its page alone
    #[command(after_help = "Example: trunkline api --config infra/config/api.toml")]
    Api(ConfigArgs),
    /// Read the settings as a service would and say everything that is wrong with them
    #[command(after_help = "Example: trunkline check --config infra/config/standalone.toml")]
    Check(ConfigArgs),
    /// Make the tables of Postgres and ClickHouse that the settings name, or bring them up to date
    #[command(after_help = "Example: trunkline migrate --config infra/config/cdr.toml")]
    Migrate(ConfigArgs),
    /// Rebuild all call records from the topics into a new file
    #[command(after_help = "Example: trunkline replay --into rebuilt.sqlite --compare")]
    Replay(ReplayArgs),
    /// Play the carriers and switches that the settings name, for services in other processes
    #[command(after_help = "Example: trunkline simulate --config trunkline.toml --rate 5")]
    Simulate(SimulateArgs),
    /// One call as a ladder: who said what to whom, and when
    #[command(after_help = "Example: trunkline call 019ab3c4-d5e6-7f80-9a1b-2c3d4e5f6071")]
    Call(CallArgs),
    /// The topics: what they are, what stands in them, how they are made
    #[command(after_help = "Example: trunkline topics tail sip.transactions --follow")]
    Topics(TopicsArgs),
    /// What consumers could not handle, and putting it back after a fix
    #[command(after_help = "Example: trunkline dead-letters list --topic sip.transactions")]
    DeadLetters(DeadLettersArgs),
    /// Whether every published event is in the topics
    #[command(after_help = "Example: trunkline stream verify --topic sip.transactions")]
    Stream(StreamArgs),
    /// The schemas of this build, for registries of others
    #[command(
        after_help = "Example: trunkline schemas register --registry https://registry.example:8081 --context .trunkline"
    )]
    Schemas(SchemasArgs),
}

#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct EdgeArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(subcommand)]
    pub command: Option<EdgeCommand>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum EdgeCommand {
    /// Rules of nftables for this machine, or for a node, from the settings
    #[command(
        after_help = "Example: trunkline edge firewall --config edge.toml > /etc/nftables.d/trunkline.nft\n         \
                            trunkline edge firewall --config edge.toml --node fs-1 --close 22 | ssh fs-1 nft -f -"
    )]
    Firewall(FirewallArgs),
    /// Who was turned away, and the lines that would let each in, asked of the running edge
    #[command(after_help = "Example: trunkline edge knocking --config edge.toml")]
    Knocking(KnockingArgs),
}

#[derive(Debug, Clone, Args)]
pub struct FirewallArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The rules of that node instead of the edge's
    #[arg(long, value_name = "ID")]
    pub node: Option<String>,
    /// With --node: the node-side address of a further edge
    #[arg(long = "edge", value_name = "ADDRESS")]
    pub edges: Vec<std::net::IpAddr>,
    /// Close everything else but this TCP port, answers, ICMP and loopback
    #[arg(long, value_name = "SSH PORT")]
    pub close: Option<u16>,
}

#[derive(Debug, Clone, Args)]
pub struct KnockingArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// One JSON object per line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct DeadLettersArgs {
    #[command(subcommand)]
    pub command: DeadLettersCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum DeadLettersCommand {
    /// The dead letters, a line each, and whether they were put back
    #[command(after_help = "Example: trunkline dead-letters list --topic sip.transactions --class avro --json")]
    List(DeadLettersListArgs),
    /// Put dead letters back into the partitions that they came from; those that were put back before are left out
    #[command(after_help = "Example: trunkline dead-letters redrive --topic sip.transactions --dry-run")]
    Redrive(DeadLettersRedriveArgs),
}

#[derive(Debug, Clone, Args)]
pub struct DeadLettersListArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Only from this topic
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Only of this error class
    #[arg(long, value_name = "CLASS")]
    pub class: Option<String>,
    /// One JSON object per line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct DeadLettersRedriveArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Only from this topic
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Only of this error class
    #[arg(long, value_name = "CLASS")]
    pub class: Option<String>,
    /// Offsets of dead.letters to begin at: partition:offset pairs as in 0:12,2:7
    #[arg(long, value_name = "FROM")]
    pub from: Option<String>,
    /// Say what would be put back, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct StreamArgs {
    #[command(subcommand)]
    pub command: StreamCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum StreamCommand {
    /// Read the topics whole and say what is proven, unproven, declared lost and lost without a word (then the exit code is 1)
    #[command(after_help = "Works beside a running process. Example: trunkline stream verify --producer edge --json")]
    Verify(VerifyArgs),
}

#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Only this topic
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Only this producer: a service, or service/instance
    #[arg(long, value_name = "PRODUCER")]
    pub producer: Option<String>,
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct SchemasArgs {
    #[command(subcommand)]
    pub command: SchemasCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum SchemasCommand {
    /// Bring all schemas to a Confluent-compatible registry under our ids, and read every id back
    #[command(
        after_help = "The password file holds one line, user:password. Example: trunkline schemas register --registry \
                      https://registry.example:8081 --auth-file /run/secrets/registry"
    )]
    Register(RegisterArgs),
}

#[derive(Debug, Clone, Args)]
pub struct RegisterArgs {
    /// Address of the registry
    #[arg(long, value_name = "URL")]
    pub registry: String,
    /// Context that the subjects stand in; a dot alone is the registry's default context
    #[arg(long, value_name = "NAME", default_value = ".trunkline")]
    pub context: String,
    /// File with user:password for basic authentication
    #[arg(long, value_name = "FILE")]
    pub auth_file: Option<PathBuf>,
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct TopicsArgs {
    #[command(subcommand)]
    pub command: TopicsCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum TopicsCommand {
    /// Every topic with its key, partitions, how long records are kept, and how many there are
    #[command(after_help = "Example: trunkline topics list")]
    List(ConfigArgs),
    /// The fields of a topic with their units, how to order its records and how to recognise copies
    #[command(after_help = "Example: trunkline topics describe sip.transactions")]
    Describe(DescribeArgs),
    /// The events of a topic, decoded, a line each
    #[command(
        after_help = "Without --from and --call: the newest 20. Example: trunkline topics tail channel.events --call \
            019ab3c4-d5e6-7f80-9a1b-2c3d4e5f6071 --follow"
    )]
    Tail(TailArgs),
    /// Make the topics that are missing, or print the commands that make them
    #[command(after_help = "Example: trunkline topics create --print --brokers 3")]
    Create(CreateArgs),
}

#[derive(Debug, Clone, Args)]
pub struct DescribeArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Name of the topic
    pub topic: String,
}

#[derive(Debug, Clone, Args)]
pub struct TailArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Name of the topic
    pub topic: String,
    /// Only the events of this call
    #[arg(long, value_name = "ID")]
    pub call: Option<String>,
    /// Go on as events come, until stopped
    #[arg(long)]
    pub follow: bool,
    /// Where to begin: beginning, end, or partition:offset pairs as in 0:12,2:7
    #[arg(long, value_name = "FROM")]
    pub from: Option<stream::Position>,
    /// One JSON object per line, as the api gives it
    #[arg(long)]
    pub json: bool,
    /// Show phone numbers whole
    #[arg(long)]
    pub numbers: bool,
}

#[derive(Debug, Clone, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print kafka-topics.sh commands for a cluster that we may not change, and stop
    #[arg(long)]
    pub print: bool,
    /// Brokers of that cluster; they decide how many copies there can be
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub brokers: u16,
}

#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// Settings file; TRUNKLINE__SECTION__KEY in the environment wins over it
    #[arg(long, default_value = "./trunkline.toml", value_name = "FILE")]
    pub config: PathBuf,
    /// Print the settings as they came out, secrets masked, and stop
    #[arg(long)]
    pub print_config: bool,
}

#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Offer this many ordinary calls, then rebuild the records and judge (default: until stopped)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub calls: Option<u64>,
    /// New calls per second
    #[arg(long, value_name = "R", default_value_t = 20.0, value_parser = rate)]
    pub rate: f64,
    /// The same seed offers the same calls
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Mean seconds that an answered call is held by its caller
    #[arg(long, value_name = "SECONDS", default_value_t = 4.0, value_parser = hold)]
    pub hold: f64,
    /// Stop when the calls are judged, instead of leaving the page up
    #[arg(long)]
    pub exit: bool,
    /// Standard output holds JSON only; its last line is the result
    #[arg(long)]
    pub json: bool,
    /// Spoil about 1 % of the calls on purpose; the oracle must find it and the exit code must be 1
    #[arg(long, value_enum, value_name = "KIND")]
    pub sabotage: Option<Sabotage>,
    /// Where the page and the api listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: std::net::SocketAddr,
    /// Print the settings that the demo runs its services with, secrets masked, and stop
    #[arg(long)]
    pub print_config: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sabotage {
    /// Lose all events of a call, of both witnesses, before they are published
    Drop,
    /// Write a second record of a call straight into the call log
    Double,
    /// Publish calls that never were
    Phantom,
}

#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The new call log; must not exist yet (default: a temporary file, removed afterwards)
    #[arg(long, value_name = "FILE")]
    pub into: Option<PathBuf>,
    /// Compare with the present call log: print both SHA-256 and exit 1 when they differ
    #[arg(long)]
    pub compare: bool,
}

#[derive(Debug, Clone, Args)]
pub struct SimulateArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Place this many calls, then say what came of them and stand by (default: go on until stopped)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub calls: Option<u64>,
    /// New calls per second
    #[arg(long, value_name = "R", default_value_t = 5.0, value_parser = rate)]
    pub rate: f64,
    /// The same seed offers the same calls
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Mean seconds that an answered call is held by its caller
    #[arg(long, value_name = "SECONDS", default_value_t = 4.0, value_parser = hold)]
    pub hold: f64,
    /// At the end, write each call as its carrier saw it, one JSON object per line
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct CallArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The call's id, or a SIP Call-ID of one of its legs
    pub id: String,
    /// Show phone numbers whole
    #[arg(long)]
    pub numbers: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    in_range(text, 0.1, 2000.0, "calls per second")
}

fn hold(text: &str) -> Result<f64, String> {
    in_range(text, 0.1, 3600.0, "seconds")
}

fn in_range(text: &str, low: f64, high: f64, unit: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("a number of {unit} from {low} to {high}"))?;
    if (low..=high).contains(&value) { Ok(value) } else { Err(format!("a number of {unit} from {low} to {high}")) }
}
