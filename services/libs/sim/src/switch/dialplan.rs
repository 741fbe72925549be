//! What a called number does: the last four digits choose, their first digit decides.
//!
//! Actions are those of a FreeSWITCH dialplan. In their data `{called}` is the called number, `{called8}` the same with the first of
//! its last four digits replaced by 8 (the far end that a bridge dials), and `${name}` a channel variable.

/// One digit's actions.
#[derive(Debug, Clone)]
pub struct Extension {
    pub first_digit: char,
    /// Ask for credentials first (407).
    pub challenge: bool,
    pub actions: Vec<(&'static str, String)>,
}

#[derive(Debug, Clone)]
pub struct Dialplan {
    pub extensions: Vec<Extension>,
}

fn extension(first_digit: char, actions: &[(&'static str, &str)]) -> Extension {
    Extension {
        first_digit,
        challenge: false,
        actions: actions.iter().map(|(app, data)| (*app, (*data).to_owned())).collect(),
    }
}

impl Dialplan {
    /// The dialplan of the demo and of all tests of the platform. `outbound_esl` is where 2xxx connects to.
    #[must_use]
    pub fn platform(outbound_esl: &str) -> Self {
        let mut challenged = extension('7', &[("answer", ""), ("echo", "")]);
        challenged.challenge = true;
        Self {
            extensions: vec![
                extension('1', &[("set", "trunkline_control=own"), ("set", "hangup_after_bridge=true"), ("park", "")]),
                extension('2', &[("socket", &format!("{outbound_esl} async full"))]),
                extension('3', &[("answer", ""), ("echo", "")]),
                extension('4', &[("set", "hangup_after_bridge=true"), ("bridge", "sofia/gateway/edge/{called8}")]),
                extension('5', &[("hangup", "USER_BUSY")]),
                extension('6', &[("hangup", "CALL_REJECTED")]),
                challenged,
            ],
        }
    }

    /// The dialplan behind the recorded sessions. `far_end` is the user agent that 4xxx is bridged to.
    #[must_use]
    pub fn recorded(far_end: &str, outbound_esl: &str) -> Self {
        Self {
            extensions: vec![
                extension('1', &[("park", "")]),
                extension('2', &[("socket", &format!("{outbound_esl} async full"))]),
                extension('3', &[("answer", ""), ("echo", "")]),
                extension(
                    '4',
                    &[("set", "hangup_after_bridge=true"), ("bridge", &format!("sofia/core/{{called}}@{far_end}"))],
                ),
                extension('5', &[("hangup", "USER_BUSY")]),
            ],
        }
    }

    /// The extension of a called number; nothing when it is not in the plan.
    #[must_use]
    pub fn find(&self, called: &str) -> Option<&Extension> {
        let digit = called.chars().rev().nth(3)?;
        self.extensions.iter().find(|extension| extension.first_digit == digit)
    }

    pub(super) fn actions(&self, called: &str) -> Option<Vec<(&'static str, String)>> {
        let found = self.find(called)?;
        let called8 = with_digit(called, '8');
        let fill = |data: &String| data.replace("{called8}", &called8).replace("{called}", called);
        Some(found.actions.iter().map(|(app, data)| (*app, fill(data))).collect())
    }
}

fn with_digit(called: &str, digit: char) -> String {
    let count = called.chars().count();
    called.chars().enumerate().map(|(at, c)| if at + 4 == count { digit } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fourth_digit_from_the_end_decides() {
        let plan = Dialplan::platform("127.0.0.1:8084");
        assert_eq!(plan.find("+493012341000").unwrap().first_digit, '1');
        assert!(plan.find("+493012347001").unwrap().challenge);
        assert!(plan.find("9001").is_none() && plan.find("12").is_none());
        let actions = plan.actions("+493012344107").unwrap();
        assert_eq!(actions[1], ("bridge", "sofia/gateway/edge/+493012348107".to_owned()));
    }
}
