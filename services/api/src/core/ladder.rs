//! One call as a ladder: lanes for the parties, steps between them in the order of time.
//!
//! Made from what the call log keeps of each event (`events_view`). A body is read leniently: what an older or newer call log
//! does not hold is left out of the picture.

use serde::Serialize;
use serde_json::Value;

use super::mask::Numbers;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ladder {
    pub lanes: Vec<Lane>,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lane {
    /// `<kind>:<id>`
    pub id: String,
    pub kind: String,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    pub at_us: i64,
    /// Lane.
    pub from: String,
    /// Lane; the same as `from` for something that happened at one party.
    pub to: String,
    pub text: String,
    /// request, progress, good, bad or note: how it is drawn.
    pub tone: &'static str,
    /// Why, when the event explains itself.
    pub why: Option<String>,
}

/// `bodies`: one JSON object per event, in any order.
#[must_use]
pub fn draw(bodies: &[Value], numbers: Numbers) -> Ladder {
    let mut steps = Vec::new();
    for body in bodies {
        match body["kind"].as_str() {
            Some("edge") => edge(body, numbers, &mut steps),
            Some("channel") => channel(body, &mut steps),
            Some("ivr") => ivr(body, &mut steps),
            Some("reconciled") => reconciled(body, &mut steps),
            _ => {}
        }
    }
    // Stable: what one event says of one moment stays in its order.
    steps.sort_by_key(|step| step.at_us);
    let lanes = lanes(&steps);
    Ladder { lanes, steps }
}

/// What one event of the edge says: everything is relative to the receipt of its request.
struct Said<'a> {
    fields: &'a Value,
    at_us: i64,
    received_us: i64,
    source: String,
    edge: String,
    why: Option<String>,
}

impl Said<'_> {
    fn step(&self, at_us: i64, from: &str, to: &str, text: impl Into<String>, tone: &'static str) -> Step {
        Step { at_us, from: from.to_owned(), to: to.to_owned(), text: text.into(), tone, why: None }
    }

    /// A moment that is given relative to the receipt.
    fn after(&self, name: &str) -> Option<i64> {
        self.fields[name].as_i64().map(|offset| self.received_us + offset)
    }
}

fn edge(body: &Value, numbers: Numbers, steps: &mut Vec<Step>) {
    let f = &body["edge"];
    let text = |name: &str| f[name].as_str().filter(|text| !text.is_empty());
    let at_us = body["at"].as_i64().unwrap_or_default();
    let said = Said {
        fields: f,
        at_us,
        received_us: f["received"].as_i64().unwrap_or(at_us),
        source: lane(text("side").unwrap_or("trunk"), text("source").unwrap_or("?")),
        edge: lane("edge", text("edge").unwrap_or("edge")),
        why: [text("why"), text("rule"), text("block")]
            .into_iter()
            .flatten()
            .map(str::to_owned)
            .reduce(|a, b| a + " · " + &b),
    };
    let status = f["status"].as_i64();
    let answer = match (status, text("phrase")) {
        (Some(status), Some(phrase)) => format!("{status} {phrase}"),
        (Some(status), None) => status.to_string(),
        _ => "no answer".to_owned(),
    };
    let invite = || {
        let callee = text("callee_raw").or(text("callee_e164")).map(|callee| numbers.text(callee));
        format!("INVITE {}", callee.unwrap_or_default()).trim_end().to_owned()
    };
    match body["what"].as_str().unwrap_or_default() {
        "attempt" => {
            if f["attempt"].as_i64().unwrap_or(1) <= 1 {
                steps.push(said.step(said.received_us, &said.source, &said.edge, invite(), "request"));
            }
            let again = text("failover").map(|_| "INVITE, next try").unwrap_or("INVITE");
            let to = target(f);
            steps.push(Step { why: said.why.clone(), ..said.step(at_us, &said.edge, &to, again, "request") });
        }
        "answered" | "final" => outcome(&said, &answer, status, steps),
        "refused" => {
            steps.push(said.step(said.received_us, &said.source, &said.edge, invite(), "request"));
            steps.push(Step { why: said.why.clone(), ..said.step(at_us, &said.edge, &said.source, answer, "bad") });
        }
        "late_answer" => {
            let text = format!("{answer}, too late: {}", text("late_action").unwrap_or("ignored"));
            steps.push(said.step(at_us, &target(f), &said.edge, text, "bad"));
        }
        "ended" => {
            let seconds = f["talk"].as_i64().unwrap_or_default() as f64 / 1e6;
            let to = target(f);
            let (from, to) = if text("released_by") == Some("callee") {
                (to, said.source.clone())
            } else {
                (said.source.clone(), to)
            };
            steps.push(said.step(at_us, &from, &said.edge, "BYE", "request"));
            steps.push(said.step(at_us, &said.edge, &to, format!("BYE after {seconds:.1} s"), "request"));
        }
        "lost" => {
            let why = text("lost").unwrap_or("no BYE was ever seen").to_owned();
            steps.push(Step { why: Some(why), ..said.step(at_us, &said.edge, &said.edge, "dialog lost", "bad") });
        }
        _ => {
            let text = format!("{} {answer}", text("method").unwrap_or("request"));
            steps.push(said.step(at_us, &said.source, &said.edge, text, "note"));
        }
    }
}

/// The end of a server transaction: what each branch said, then what the source was told.
fn outcome(said: &Said<'_>, answer: &str, status: Option<i64>, steps: &mut Vec<Step>) {
    let f = said.fields;
    let good = status.is_some_and(|status| (200..300).contains(&status));
    let tone = if good {
        "good"
    } else if f["challenge"] == Value::Bool(true) {
        "note"
    } else {
        "bad"
    };
    for branch in f["branches"].as_array().into_iter().flatten() {
        let from = target(branch);
        if let Some(ringing) = branch["t_18x"].as_i64() {
            steps.push(said.step(said.received_us + ringing, &from, &said.edge, "ringing", "progress"));
        }
        if let Some(status) = branch["status"].as_i64() {
            let at = branch["t_final"].as_i64().map_or(said.at_us, |offset| said.received_us + offset);
            let tone = if (200..300).contains(&status) { "good" } else { "bad" };
            steps.push(said.step(at, &from, &said.edge, status.to_string(), tone));
        }
    }
    if let Some(at) = said.after("t_18x") {
        steps.push(said.step(at, &said.edge, &said.source, "ringing", "progress"));
    }
    if f["cancelled"] == Value::Bool(true) {
        let at = said.after("t_cancel").unwrap_or(said.at_us);
        steps.push(said.step(at, &said.source, &said.edge, "CANCEL", "request"));
    }
    let at = said.after("t_final").unwrap_or(said.at_us);
    steps.push(Step { why: said.why.clone(), ..said.step(at, &said.edge, &said.source, answer, tone) });
}

fn channel(body: &Value, steps: &mut Vec<Step>) {
    let f = &body["channel"];
    let text = match body["what"].as_str().unwrap_or_default() {
        "CHANNEL_CREATE" => "channel made".to_owned(),
        "CHANNEL_ANSWER" => "channel answered".to_owned(),
        "CHANNEL_PARK" => "parked for the engine".to_owned(),
        "CHANNEL_BRIDGE" => "bridged".to_owned(),
        "CHANNEL_UNBRIDGE" => "unbridged".to_owned(),
        "DTMF" => format!("key {}", f["digit"].as_str().unwrap_or("hidden")),
        "PLAYBACK_START" => "playback".to_owned(),
        "CHANNEL_HANGUP_COMPLETE" => format!("hangup {}", f["cause"].as_str().unwrap_or_default()),
        _ => return,
    };
    note(body, &f["node"], text, None, steps);
}

fn ivr(body: &Value, steps: &mut Vec<Step>) {
    let f = &body["ivr"];
    let place = [f["menu"].as_str(), f["menu_node"].as_str()].into_iter().flatten().collect::<Vec<_>>().join("/");
    let outcome = f["outcome"].as_str().or(body["what"].as_str()).unwrap_or_default().replace('_', " ");
    let next = f["next"].as_str().or(f["action"].as_str()).filter(|next| !next.is_empty());
    let text =
        next.map_or_else(|| format!("menu {place}: {outcome}"), |next| format!("menu {place}: {outcome} → {next}"));
    note(body, &f["node"], text, None, steps);
}

fn reconciled(body: &Value, steps: &mut Vec<Step>) {
    let f = &body["reconciled"];
    let what = body["what"].as_str().unwrap_or_default().replace('_', " ");
    note(body, &f["node"], format!("closed: {what}"), f["rule"].as_str().map(str::to_owned), steps);
}

fn note(body: &Value, node: &Value, text: String, why: Option<String>, steps: &mut Vec<Step>) {
    let lane = node.as_str().map_or_else(|| lane("edge", "edge"), |node| lane("node", node));
    let at_us = body["at"].as_i64().unwrap_or_default();
    steps.push(Step { at_us, from: lane.clone(), to: lane, text, tone: "note", why });
}

fn target(fields: &Value) -> String {
    let branch = fields["branches"].as_array().and_then(|branches| branches.last());
    let find = |name: &str| fields[name].as_str().or_else(|| branch.and_then(|branch| branch[name].as_str()));
    lane(find("to_side").unwrap_or("node"), find("to").unwrap_or("?"))
}

fn lane(kind: &str, id: &str) -> String {
    format!("{kind}:{id}")
}

/// In the order in which the parties first take part; the edge second, where every call passes.
fn lanes(steps: &[Step]) -> Vec<Lane> {
    let mut ids: Vec<&str> = Vec::new();
    for id in steps.iter().flat_map(|step| [step.from.as_str(), step.to.as_str()]) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if let Some(at) = ids.iter().position(|id| id.starts_with("edge:")).filter(|at| *at != 1 && ids.len() > 2) {
        let edge = ids.remove(at);
        ids.insert(1, edge);
    }
    let lane = |id: &str| {
        let (kind, name) = id.split_once(':').unwrap_or(("", id));
        Lane { id: id.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
    };
    ids.into_iter().map(lane).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call() -> Vec<Value> {
        let edge = |at: i64, what: &str, more: Value| {
            let mut fields = json!({ "edge": "e1", "side": "trunk", "source": "carrier", "to_side": "node", "to": "fs-1", "received": 1_000 });
            fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({ "kind": "edge", "what": what, "at": at, "edge": fields })
        };
        vec![
            edge(9_000_000, "ended", json!({ "released_by": "callee", "talk": 8_500_000 })),
            edge(
                1_100,
                "attempt",
                json!({ "attempt": 1, "callee_raw": "+442079460018", "why": "weighted", "rule": "pool" }),
            ),
            edge(
                500_000,
                "answered",
                json!({
                    "status": 200, "phrase": "OK", "t_18x": 200_500, "t_final": 499_000,
                    "branches": [{ "to": "fs-1", "to_side": "node", "status": 200, "t_18x": 200_000, "t_final": 498_000 }],
                }),
            ),
            json!({ "kind": "channel", "what": "CHANNEL_CREATE", "at": 1_500, "channel": { "node": "fs-1" } }),
            json!({ "kind": "channel", "what": "CHANNEL_EXECUTE", "at": 1_600, "channel": { "node": "fs-1" } }),
            json!({ "kind": "ivr", "what": "input", "at": 600_000, "ivr": { "node": "fs-1", "menu": "main", "menu_node": "top", "outcome": "input", "next": "sales" } }),
        ]
    }

    #[test]
    fn an_answered_call_reads_from_top_to_bottom() {
        let ladder = draw(&call(), Numbers::Masked);
        let lanes: Vec<&str> = ladder.lanes.iter().map(|lane| lane.id.as_str()).collect();
        assert_eq!(lanes, ["trunk:carrier", "edge:e1", "node:fs-1"]);
        let read: Vec<String> = ladder.steps.iter().map(|s| format!("{}>{} {}", s.from, s.to, s.text)).collect();
        assert_eq!(
            read,
            [
                "trunk:carrier>edge:e1 INVITE +44••••••••18",
                "edge:e1>node:fs-1 INVITE",
                "node:fs-1>node:fs-1 channel made",
                "node:fs-1>edge:e1 ringing",
                "edge:e1>trunk:carrier ringing",
                "node:fs-1>edge:e1 200",
                "edge:e1>trunk:carrier 200 OK",
                "node:fs-1>node:fs-1 menu main/top: input → sales",
                "node:fs-1>edge:e1 BYE",
                "edge:e1>trunk:carrier BYE after 8.5 s",
            ]
        );
        assert_eq!(ladder.steps[1].why.as_deref(), Some("weighted · pool"));
    }

    #[test]
    fn the_number_is_shown_only_when_asked_for() {
        assert!(draw(&call(), Numbers::Full).steps[0].text.contains("+442079460018"));
    }

    #[test]
    fn bodies_that_make_no_sense_do_not_break_the_picture() {
        let odd =
            [json!(null), json!({ "kind": "edge" }), json!({ "kind": "ivr", "ivr": 7 }), json!({ "kind": "new" })];
        assert!(draw(&odd, Numbers::Masked).steps.len() <= 2);
        assert_eq!(draw(&[], Numbers::Masked), Ladder { lanes: Vec::new(), steps: Vec::new() });
    }
}
