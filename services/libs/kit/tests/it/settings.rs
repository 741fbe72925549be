use std::net::SocketAddr;
use std::path::PathBuf;

use kit::settings::{self, Check, Origin, Problem, Problems, join};
use kit::{LogConfig, Secret};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    data_dir: PathBuf,
    edge: Edge,
    log: LogConfig,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Edge {
    bind: SocketAddr,
    rate: u32,
    ceiling: u32,
    mode: Mode,
    password: Secret,
    name: String,
    hosts: Vec<String>,
    trunks: Vec<Trunk>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Own,
    Observe,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trunk {
    id: String,
    #[serde(default)]
    cps: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { data_dir: "trunkline-data".into(), edge: Edge::default(), log: LogConfig::default() }
    }
}

impl Default for Edge {
    fn default() -> Self {
        Edge {
            bind: "127.0.0.1:5060".parse().unwrap(),
            rate: 10,
            ceiling: 100,
            mode: Mode::Own,
            password: Secret::default(),
            name: "edge".into(),
            hosts: Vec::new(),
            trunks: Vec::new(),
        }
    }
}

impl Check for Config {
    fn check(&self, _: &str, out: &mut Vec<Problem>) {
        self.edge.check("edge", out);
        self.log.check("log", out);
    }
}

impl Check for Edge {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        if self.rate > self.ceiling {
            out.push(Problem::new(join(at, "rate"), self.rate, format!("at most edge.ceiling ({})", self.ceiling)));
        }
        self.password.check_strength(&join(at, "password"), out);
    }
}

fn load(toml: &str, env: &[(&str, &str)]) -> Result<Config, Problems> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("trunkline.toml");
    std::fs::write(&file, toml).unwrap();
    settings::load(Some(&file), env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn problems(toml: &str, env: &[(&str, &str)]) -> Vec<Problem> {
    load(toml, env).expect_err("these settings have mistakes").0
}

#[test]
fn nothing_set_gives_the_defaults() {
    let none: Option<(String, String)> = None;
    assert_eq!(settings::load::<Config>(None, none).unwrap(), Config::default());
}

#[test]
fn the_environment_wins_over_the_file_and_leaves_the_rest_of_a_section() {
    let config = load(
        "[edge]\nrate = 20\nceiling = 50\n",
        &[
            ("TRUNKLINE__EDGE__RATE", "30"),
            ("TRUNKLINE__EDGE__MODE", "observe"),
            ("TRUNKLINE__DATA_DIR", "/srv/t"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!((config.edge.rate, config.edge.ceiling, config.edge.mode), (30, 50, Mode::Observe));
    assert_eq!(config.data_dir, PathBuf::from("/srv/t"));
}

#[test]
fn lists_in_the_environment_are_toml_or_json_literals() {
    for literal in ["[{id = \"a\", cps = 5}, {id = \"b\"}]", "[{\"id\": \"a\", \"cps\": 5}, {\"id\": \"b\"}]"] {
        let config = load("", &[("TRUNKLINE__EDGE__TRUNKS", literal), ("TRUNKLINE__EDGE__HOSTS", "[\"x\"]")]).unwrap();
        assert_eq!(config.edge.trunks[0], Trunk { id: "a".into(), cps: 5 });
        assert_eq!(config.edge.trunks[1].id, "b");
        assert_eq!(config.edge.hosts, ["x"]);
    }
}

#[test]
fn a_text_that_looks_like_a_number_is_still_text_where_text_is_wanted() {
    let config = load("", &[("TRUNKLINE__EDGE__NAME", "42"), ("TRUNKLINE__EDGE__PASSWORD", "83651940275518")]).unwrap();
    assert_eq!(config.edge.name, "42");
    assert_eq!(config.edge.password.expose(), "83651940275518");
}

#[test]
fn all_mistakes_come_at_once_each_with_key_value_origin_and_what_is_allowed() {
    let found = problems(
        "data_dri = \"x\"\n[edge]\nbind = \"localhost\"\nrate = 5000\nmode = \"watch\"\nname = 7\n\
         [[edge.trunks]]\nid = \"a\"\ncps = -1\n[[edge.trunks]]\ncps = 3\n[[edge.trunks]]\nid = \"c\"\ncps = \"fast\"\n\
         [egde]\nrate = 1\n",
        &[("TRUNKLINE__EDGE__CEILING", "many"), ("TRUNKLINE__EDGE__RTAE", "3"), ("TRUNKLINE__LOG__FILTER", "a=b=c")],
    );
    let find = |key: &str| {
        let hits: Vec<&Problem> = found.iter().filter(|p| p.key == key).collect();
        assert_eq!(hits.len(), 1, "{key} once in {found:#?}");
        hits[0]
    };
    assert!(find("data_dri").allowed.contains("did you mean data_dir?"));
    assert!(find("egde").allowed.contains("did you mean edge?"));
    assert!(find("edge.rtae").allowed.contains("did you mean rate?"));
    assert_eq!(find("edge.rtae").origin, Origin::Env("TRUNKLINE__EDGE__RTAE".into()));
    assert_eq!(find("edge.bind").value, "\"localhost\"");
    let Origin::File { path, line } = &find("edge.bind").origin else { panic!("{:?}", find("edge.bind")) };
    assert!(path.ends_with("trunkline.toml") && *line == Some(3), "{path:?} {line:?}");
    let line = |key: &str| match find(key).origin {
        Origin::File { line, .. } => line,
        _ => None,
    };
    assert_eq!(
        [line("edge.trunks[0].cps"), line("edge.trunks[1].id"), line("edge.trunks[2].cps")],
        [Some(9), Some(10), Some(14)]
    );
    assert_eq!(line("data_dri"), Some(1));
    let mode = find("edge.mode");
    assert!(mode.allowed.contains("own") && mode.allowed.contains("observe") && mode.value.contains("watch"), "{mode}");
    assert!(find("edge.name").allowed.contains("a string"));
    assert_eq!(find("edge.ceiling").origin, Origin::Env("TRUNKLINE__EDGE__CEILING".into()));
    assert_eq!(find("edge.ceiling").value, "\"many\"");
    assert!(find("edge.ceiling").allowed.contains("u32"));
    assert_eq!(find("edge.trunks[0].cps").value, "-1");
    assert!(find("edge.trunks[1].id").allowed.contains("missing"));
    assert_eq!(find("edge.trunks[2].cps").value, "\"fast\"", "indices are those of the file");
    assert!(find("log.filter").allowed.contains("for example"));
    assert_eq!(find("edge.rate").value, "5000", "checks of combinations run although other keys are wrong");
    assert_eq!(found.len(), 12, "{found:#?}");
}

#[test]
fn one_line_per_problem_for_people() {
    let text = load("[edge]\nrate = \"x\"\ncolour = 1\n", &[]).unwrap_err().to_string();
    assert!(text.starts_with("2 problems in the settings:\n"), "{text}");
    assert!(text.contains("edge.rate = \"x\" (in "), "{text}");
    assert!(text.contains("known here: ") && text.contains("ceiling"), "{text}");
}

#[test]
fn a_secret_is_in_no_error_and_in_no_print() {
    let from_file = load("[edge]\npassword = 99887766\n", &[]).unwrap_err().to_string();
    let broken_file = load("[edge]\npassword = \"hunter2-99887766\n", &[]).unwrap_err().to_string();
    let weak = load("[edge]\npassword = \"ClueCon\"\n", &[]).unwrap_err().to_string();
    for text in [&from_file, &broken_file, &weak] {
        assert!(!text.contains("99887766") && !text.contains("ClueCon"), "{text}");
    }
    assert!(from_file.contains("edge.password = ***"), "{from_file}");
    assert!(broken_file.contains("line 2"), "{broken_file}");
    assert!(weak.contains("products ship with"), "{weak}");
    let good = load("[edge]\npassword = \"plenty-of-letters-77\"\n", &[]).unwrap();
    let printed = settings::print(&good);
    assert!(printed.contains("password = \"***\"") && !printed.contains("plenty"), "{printed}");
    assert!(!format!("{good:?}").contains("plenty"));
    assert_eq!(printed.parse::<toml::Table>().unwrap()["edge"]["rate"].as_integer(), Some(10), "it prints TOML");
}

#[test]
fn a_named_file_that_is_missing_is_a_problem() {
    let found = settings::load::<Config>(Some(std::path::Path::new("/nowhere/trunkline.toml")), None).unwrap_err();
    assert!(found.to_string().contains("cannot be read"), "{found}");
}

#[test]
fn a_variable_that_reaches_into_a_plain_value_or_a_list_is_a_problem() {
    let found =
        problems("", &[("TRUNKLINE__EDGE__RATE__MAX", "3"), ("TRUNKLINE__EDGE__RATE", "3"), ("TRUNKLINE____X", "1")]);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().any(|p| p.key == "edge.rate.max" && p.allowed.contains("as a whole")), "{found:#?}");
    assert!(found.iter().any(|p| p.allowed.contains("TRUNKLINE__SECTION__KEY")), "{found:#?}");
}

#[test]
fn structs_that_tolerate_unknown_keys_are_no_way_around_the_rule() {
    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(default)]
    struct Lax {
        size: u32,
    }
    impl Check for Lax {}
    let env = [("TRUNKLINE__SIZ".to_owned(), "3".to_owned())];
    let found = settings::load::<Lax>(None, env).unwrap_err();
    assert!(found.0[0].allowed.contains("did you mean size?"), "{found}");
}

#[test]
fn weak_secrets_are_known_by_their_weakness() {
    for weak in ["ClueCon", "Password123", "trunkline!", "short", "aaaaaaaaaaaaaaaa"] {
        assert!(Secret::new(weak).weakness().is_some(), "{weak}");
    }
    assert_eq!(Secret::new("").weakness(), None, "whether one is needed is the owner's question");
    assert_eq!(Secret::new("k3Jx9-vR2pQz71").weakness(), None);
}
