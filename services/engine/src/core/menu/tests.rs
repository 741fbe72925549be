use std::sync::Arc;

use domain::Now;
use proptest::prelude::*;
use schemas::IvrDecision;

use super::model::Kind;
use super::*;

const MAIN: &str = include_str!("../../../../../infra/config/menus/main.toml");
const AGENT: &str = "+12025558001";

fn main_menu() -> Arc<Menu> {
    Arc::new(Menu::parse(MAIN, AGENT).expect("the shipped menu is right"))
}

fn at(seconds: u64) -> Now {
    Now { wall_us: 1_795_226_344_000_000, mono_us: 1_000_000 }.plus_us(seconds * 1_000_000)
}

/// A run and the switch's end of it, without a switch.
struct Play {
    run: Run,
    out: Vec<Do>,
    decisions: Vec<IvrDecision>,
    last: Option<Do>,
}

impl Play {
    fn new(menu: Arc<Menu>) -> Self {
        let mut out = Vec::new();
        let run = Run::start(menu, at(0), &mut out);
        let mut play = Self { run, out, decisions: Vec::new(), last: None };
        play.collect();
        play
    }

    fn give(&mut self, seconds: u64, input: Input) {
        self.run.handle(at(seconds), input, &mut self.out);
        self.collect();
    }

    fn collect(&mut self) {
        for action in std::mem::take(&mut self.out) {
            match action {
                Do::Decide(decision) => self.decisions.push(*decision),
                Do::Sensitive(_) => {}
                other => self.last = Some(other),
            }
        }
    }

    fn token(&self) -> Token {
        match self.last.as_ref().expect("a command") {
            Do::Ask { token, .. } | Do::Play { token, .. } | Do::Bridge { token, .. } | Do::Hangup { token, .. } => {
                *token
            }
            other => panic!("{other:?} has no token"),
        }
    }

    fn key(&mut self, seconds: u64, key: char) {
        self.give(seconds, Input::Key { key, source: Some("info".into()) });
        let token = self.token();
        self.give(seconds, Input::Done { token, digits: Some(key.to_string()), invalid: None });
    }

    fn silence(&mut self, seconds: u64) {
        let token = self.token();
        self.give(seconds, Input::Done { token, digits: None, invalid: None });
    }

    fn kinds(&self) -> Vec<String> {
        self.decisions.iter().map(|d| format!("{}:{}", d.event_type, d.menu_node)).collect()
    }
}

#[test]
fn two_keys_lead_to_an_agent_and_every_step_is_told() {
    let mut play = Play::new(main_menu());
    play.key(2, '1');
    play.key(4, '1');
    assert!(
        matches!(&play.last, Some(Do::Bridge { target, .. }) if target.to_string() == format!("sofia/gateway/edge/{AGENT}"))
    );
    play.give(6, Input::Bridged);
    let token = play.token();
    play.give(60, Input::Done { token, digits: None, invalid: None });
    play.give(61, Input::HungUp { cause: Some("NORMAL_CLEARING".into()) });
    assert!(play.run.finished());
    assert_eq!(
        play.kinds(),
        [
            "menu_entered:welcome",
            "input:welcome",
            "menu_entered:sales",
            "input:sales",
            "menu_entered:agent",
            "transferred:agent",
            "completed:agent"
        ]
    );
    let choice = &play.decisions[3];
    let input = choice.input.as_ref().expect("an input");
    assert_eq!((input.digits.as_deref(), input.keys[0].t_us, input.digit_count), (Some("1"), 2_000_000, 1));
    assert_eq!((choice.rule.as_deref(), choice.rule_kind.as_deref()), (Some("option:1"), Some("caller")));
    assert_eq!(choice.alternatives, ["0=back", "1=agent", "2=hours"]);
    assert!(choice.escalated && !choice.zero_out && choice.elapsed_us == 2_000_000);
    assert!(play.decisions.iter().enumerate().all(|(n, d)| d.step == n as i32 + 1), "steps have no gaps");
}

#[test]
fn silence_twice_says_goodbye_and_hangs_up_normally() {
    let mut play = Play::new(main_menu());
    play.silence(6);
    play.silence(12);
    play.silence(13);
    assert!(matches!(&play.last, Some(Do::Hangup { cause, .. }) if cause.as_str() == "NORMAL_CLEARING"));
    assert_eq!(
        play.kinds(),
        ["menu_entered:welcome", "no_input:welcome", "no_input:welcome", "menu_entered:goodbye", "completed:goodbye"]
    );
    let attempts: Vec<(i32, i32, &str)> =
        play.decisions[1..3].iter().map(|d| (d.attempt, d.max_attempts, d.action.as_deref().unwrap_or(""))).collect();
    assert_eq!(attempts, [(1, 2, "repeat"), (2, 2, "hangup")]);
}

#[test]
fn a_wrong_key_and_half_a_number_are_told_apart() {
    let mut play = Play::new(main_menu());
    play.give(1, Input::PlaybackStarted);
    play.give(1, Input::Key { key: '9', source: None });
    play.give(1, Input::PlaybackStopped { duration_us: Some(120_000) });
    let token = play.token();
    play.give(2, Input::Done { token, digits: None, invalid: Some("9".into()) });
    let wrong = play.decisions.last().expect("a decision");
    let input = wrong.input.as_ref().expect("an input");
    assert_eq!(
        (wrong.event_type.as_str(), wrong.outcome.as_str(), input.digits.as_deref()),
        ("invalid", "invalid", Some("9"))
    );
    assert!(input.barge_in && wrong.prompts[0].duration_us == Some(120_000));
    play.give(3, Input::Key { key: '1', source: None });
    let token = play.token();
    play.give(9, Input::Done { token, digits: None, invalid: None });
    assert!(play.decisions.iter().any(|d| d.outcome == "timeout_inter_digit"));
}

#[test]
fn zero_goes_back_to_where_the_caller_came_from() {
    let mut play = Play::new(main_menu());
    play.key(1, '1');
    play.key(2, '0');
    let back = &play.decisions[3];
    assert!(back.back && back.next_node.as_deref() == Some("welcome"));
    assert_eq!(play.decisions[4].entry_reason.as_deref(), Some("back"));
}

#[test]
fn a_caller_who_leaves_during_the_question_is_told_as_such() {
    let mut play = Play::new(main_menu());
    play.give(1, Input::HungUp { cause: Some("ORIGINATOR_CANCEL".into()) });
    let end = play.decisions.last().expect("a decision");
    assert_eq!((end.event_type.as_str(), end.outcome.as_str()), ("hangup", "hangup_in_prompt"));
    assert_eq!(end.hangup_cause.as_deref(), Some("ORIGINATOR_CANCEL"));
    assert!(play.run.finished() && end.check_owned().is_ok());
}

#[test]
fn an_answer_to_an_old_question_is_not_taken() {
    let mut play = Play::new(main_menu());
    let old = play.token();
    play.key(1, '1');
    let before = play.decisions.len();
    play.give(2, Input::Done { token: old, digits: Some("2".into()), invalid: None });
    assert_eq!(play.decisions.len(), before);
}

#[test]
fn a_refused_command_ends_the_call_by_force_and_a_second_refusal_ends_our_care() {
    let mut play = Play::new(main_menu());
    play.give(1, Input::Refused);
    assert!(matches!(&play.last, Some(Do::Ask { .. })), "the caller may just have left");
    play.give(4, Input::Late);
    assert!(matches!(&play.last, Some(Do::Kill { .. })));
    assert_eq!(play.decisions.last().and_then(|d| d.rule.clone()).as_deref(), Some("refused"));
    assert!(!play.run.finished());
    play.give(4, Input::Refused);
    assert!(play.run.finished());
}

#[test]
fn a_command_refused_because_the_caller_left_is_told_as_his_leaving() {
    let mut play = Play::new(main_menu());
    play.give(1, Input::Refused);
    play.give(1, Input::HungUp { cause: Some("NORMAL_CLEARING".into()) });
    assert_eq!(play.decisions.last().map(|d| d.event_type.clone()).as_deref(), Some("hangup"));
    assert!(matches!(&play.last, Some(Do::Ask { .. })), "nothing was killed");
}

#[test]
fn after_a_lost_link_the_question_is_asked_again_and_a_talk_goes_on() {
    let mut play = Play::new(main_menu());
    let before = play.token();
    play.give(3, Input::Resumed { application: "play_and_get_digits".into() });
    assert!(play.token() > before && matches!(&play.last, Some(Do::Ask { .. })));
    play.key(4, '1');
    play.key(5, '1');
    play.give(6, Input::Bridged);
    play.give(9, Input::Resumed { application: "bridge".into() });
    assert_eq!(play.run.deadline(), None);
    play.give(12, Input::Resumed { application: "park".into() });
    assert!(matches!(&play.last, Some(Do::Hangup { .. })));
}

#[test]
fn an_end_that_was_on_its_way_when_the_link_broke_is_made_sure_of() {
    let mut play = Play::new(main_menu());
    play.key(1, '2');
    play.silence(2);
    assert!(matches!(&play.last, Some(Do::Hangup { .. })));
    for second in [3, 4] {
        play.last = None;
        play.give(second, Input::Resumed { application: "park".into() });
        assert!(matches!(&play.last, Some(Do::Kill { .. })) && !play.run.finished());
    }
}

/// Whatever the caller presses, however often, and whatever goes missing: the run ends, and by a known number of steps.
#[derive(Debug, Clone)]
enum Caller {
    Press(char),
    Wrong(char),
    Nothing,
    TalkEnds,
    AnswerLost,
    LinkLost,
}

fn caller() -> impl Strategy<Value = Caller> {
    prop_oneof![
        4 => prop::sample::select("0123456789*#".chars().collect::<Vec<_>>()).prop_map(Caller::Press),
        1 => prop::sample::select("3456789*#".chars().collect::<Vec<_>>()).prop_map(Caller::Wrong),
        1 => Just(Caller::Nothing),
        1 => Just(Caller::TalkEnds),
        1 => Just(Caller::AnswerLost),
        1 => Just(Caller::LinkLost),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_keys_traps_a_caller(moves in prop::collection::vec(caller(), 1..20)) {
        let mut play = Play::new(main_menu());
        let mut ended = false;
        // The same moves over and over: a caller who never gives up.
        for (n, step) in moves.iter().cycle().take(4000).enumerate() {
            let now = n as u64 * 3;
            if play.run.deadline().is_some_and(|due| at(now).mono_us >= due) {
                play.give(now, Input::Late);
            }
            match (play.last.clone().expect("a command"), step) {
                (Do::Hangup { .. } | Do::Kill { .. }, _) => {
                    play.give(now, Input::HungUp { cause: None });
                    prop_assert!(play.run.finished());
                    ended = true;
                    break;
                }
                (Do::Bridge { .. }, Caller::TalkEnds) => {
                    play.give(now, Input::Bridged);
                    play.silence(now);
                }
                (Do::Ask { token, .. }, Caller::Press(key)) => {
                    play.give(now, Input::Key { key: *key, source: None });
                    play.give(now, Input::Done { token, digits: Some(key.to_string()), invalid: None });
                }
                (Do::Ask { token, .. }, Caller::Wrong(key)) => play.give(now, Input::Done { token, digits: None, invalid: Some(key.to_string()) }),
                (_, Caller::AnswerLost) => {}
                (_, Caller::LinkLost) => play.give(now, Input::Resumed { application: "park".into() }),
                _ => play.silence(now),
            }
            let asked = play.decisions.iter().filter(|d| ["input", "no_input", "invalid"].contains(&d.event_type.as_str())).count();
            prop_assert!(asked <= 30, "more questions than the menu allows");
        }
        prop_assert!(ended, "still in the menu after 4000 moves: {:?}", play.last);
        prop_assert!(play.decisions.iter().enumerate().all(|(n, d)| d.step == n as i32 + 1));
    }
}

#[test]
fn a_broken_menu_is_refused_with_every_flaw_by_name() {
    let broken = MAIN
        .replace("1 = \"sales\"", "1 = \"nowhere\"\n77 = \"news\"")
        .replace("no_input = \"goodbye\"", "no_input = \"gone\"")
        .replace("tone_stream://%(400,100,440)", "http://169.254.169.254/x")
        .replace("timeout_ms = 5000", "timeout_ms = 5");
    let error = Menu::parse(&broken, AGENT).expect_err("refused").to_string();
    for part in
        ["nodes.welcome.options.1", "nodes.welcome.options.77", "\"gone\"", "nodes.hours.prompt", "timeout_ms = 5"]
    {
        assert!(error.contains(part), "{part} is not named in:\n{error}");
    }
    assert!(Menu::parse(MAIN, "1000 &system(x)").expect_err("refused").to_string().contains("engine.agent_number"));
}

#[test]
fn a_menu_with_a_circle_or_an_island_is_refused() {
    let circle = MAIN.replace("[nodes.sorry]\nkind = \"hangup\"\nprompt = \"tone_stream://%(300,100,350)\"\ncause = \"NORMAL_TEMPORARY_FAILURE\"",
        "[nodes.sorry]\nkind = \"playback\"\nprompt = \"tone_stream://%(300,100,350)\"\nnext = \"agent\"");
    assert!(Menu::parse(&circle, AGENT).expect_err("refused").to_string().contains("circle"));
    let island = format!("{MAIN}\n[nodes.island]\nkind = \"hangup\"\n");
    assert!(Menu::parse(&island, AGENT).expect_err("refused").to_string().contains("nodes.island"));
}

#[test]
fn a_sensitive_input_is_counted_and_not_told() {
    let text = MAIN.replacen("tries = 2", "tries = 2\nsensitive = true", 1);
    let mut play = Play::new(Arc::new(Menu::parse(&text, AGENT).expect("a menu")));
    play.key(1, '1');
    let input = play.decisions[1].input.as_ref().expect("an input");
    assert_eq!((input.digits.as_deref(), input.keys.len(), input.digit_count), (None, 0, 1));
}

#[test]
fn the_shipped_menu_has_two_levels() {
    let menu = main_menu();
    assert_eq!(menu.nodes.iter().filter(|n| matches!(n.kind, Kind::Menu(_))).count(), 2);
}

trait CheckOwned {
    /// The event's own check, with what the owner of the run adds.
    fn check_owned(&self) -> Result<(), schemas::Invalid>;
}

impl CheckOwned for IvrDecision {
    fn check_owned(&self) -> Result<(), schemas::Invalid> {
        let whole = IvrDecision {
            call_root_id: "0192f0aa-0000-7000-8000-0000000000aa".into(),
            channel_uuid: "0043554a-92bb-4593-abc0-d028bd916bd6".into(),
            ..self.clone()
        };
        schemas::Event::check(&whole)
    }
}
