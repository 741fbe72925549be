//! Between a caller's menu and the wire: commands out of what the menu wants, inputs out of what the switch answers.

use esl::command::{Api, Command, CommandError, Execute, GetDigits, Name, Uuid};
use esl::{Event, fields as f};

use super::menu::{Do, Input, Token};

/// Any answer is a sign of life; this one is short, and a node whose session table is stuck does not give it.
pub(crate) fn ping() -> Command {
    let nobody = Uuid::new("00000000-0000-0000-0000-000000000000").expect("a well-formed UUID");
    Command::api(&Api::Exists(nobody))
}

/// The command for one thing that a menu wants of its channel. Decisions are none.
pub(crate) fn command(uuid: &Uuid, what: &Do) -> Result<Command, CommandError> {
    let uuid = uuid.clone();
    let execute = match what {
        Do::Answer => return Ok(Command::api(&Api::Answer(uuid))),
        Do::Kill { cause } => return Ok(Command::api(&Api::Kill(uuid, cause.clone()))),
        Do::Ask { token, question } => {
            let digits = GetDigits {
                min: question.min_digits,
                max: question.max_digits,
                // One at a time, so that each attempt is decided and told by itself.
                tries: 1,
                timeout_ms: question.timeout_ms,
                digit_timeout_ms: question.inter_digit_ms,
                terminators: question.terminators.clone(),
                prompt: question.prompt.clone(),
                invalid: question.invalid_prompt.clone(),
                variable: variable(*token),
                accept: question.single_keys(),
            };
            Execute::get_digits(uuid, &digits)?.event_uuid(run_id(*token))
        }
        Do::Play { token, prompt } => Execute::playback(uuid, prompt).event_uuid(run_id(*token)),
        Do::Bridge { token, target } => Execute::bridge(uuid, target).event_uuid(run_id(*token)),
        Do::Hangup { token, cause } => Execute::hangup(uuid, cause).event_uuid(run_id(*token)),
        Do::Sensitive(_) | Do::Decide(_) => return Err(CommandError::Empty { what: "command" }),
    };
    Ok(Command::execute(&execute))
}

/// The end of a command of ours: which, and for a question what was answered.
pub(crate) fn done(event: &Event<'_>) -> Option<Input> {
    let token: Token = event.get(f::APPLICATION_UUID)?.strip_prefix(RUN)?.parse().ok()?;
    let name = format!("variable_{}", variable(token));
    let text = |name: &str| event.get(name).filter(|value| !value.is_empty()).map(std::borrow::Cow::into_owned);
    Some(Input::Done { token, digits: text(&name), invalid: text(&format!("{name}_invalid")) })
}

/// FreeSWITCH's name for how a key came, in the words of `ivr.decisions`.
pub(crate) fn key_source(source: &str) -> String {
    match source {
        "RTP" => "rfc2833".to_owned(),
        "INBAND_AUDIO" => "inband".to_owned(),
        other => other.to_ascii_lowercase(),
    }
}

const RUN: &str = "trunkline-";

fn run_id(token: Token) -> Name {
    Name::new(&format!("{RUN}{token}")).expect("letters, a dash and digits")
}

/// A variable of its own for each question: the answer to an earlier one can never be taken for it.
fn variable(token: Token) -> Name {
    Name::new(&format!("trunkline_in_{token}")).expect("letters, underscores and digits")
}
