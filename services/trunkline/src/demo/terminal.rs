//! Where the demo speaks: a person at a terminal, a plain pipe, or a program that reads JSON.
//!
//! At a terminal one line stands at the bottom and news scroll above it; keys are read. In a pipe the line is printed every few
//! seconds. With `--json` every line of standard output is an object, and what a person would like to read goes to standard
//! error.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyModifiers};
use serde_json::json;
use tokio::sync::mpsc;

use crate::demo::conductor::Stop;
use crate::demo::status::Figures;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Attack,
    KillNode,
    ToggleCdr,
    ToggleDouble,
    Rebuild,
}

pub struct Terminal {
    kind: Kind,
    last: Option<Instant>,
    standing: String,
    raw: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Person,
    Pipe,
    Json,
}

const PIPE_EVERY: Duration = Duration::from_secs(2);
/// Keys wait for one turn of the conductor only.
const KEY_QUEUE: usize = 16;

impl Terminal {
    #[must_use]
    pub fn new(json: bool) -> Terminal {
        let kind = match (json, std::io::stdout().is_terminal()) {
            (true, _) => Kind::Json,
            (false, true) => Kind::Person,
            (false, false) => Kind::Pipe,
        };
        Terminal { kind, last: None, standing: String::new(), raw: false }
    }

    #[must_use]
    pub fn is_person(&self) -> bool {
        self.kind == Kind::Person
    }

    /// Something worth a line of its own. `event` and `fields` are for programs, `text` for people.
    pub fn say(&mut self, event: &str, text: &str, fields: serde_json::Value) {
        match self.kind {
            Kind::Json => {
                let mut object = json!({ "event": event });
                if let (Some(into), serde_json::Value::Object(more)) = (object.as_object_mut(), fields) {
                    into.extend(more);
                }
                print(&format!("{object}\n"));
                eprintln!("{text}");
            }
            Kind::Pipe => print(&format!("{text}\n")),
            Kind::Person => {
                let text = text.replace('\n', "\r\n");
                print(&format!("\r\x1b[2K{text}\r\n{}", self.standing));
            }
        }
    }

    /// The line that always stands.
    pub fn stand(&mut self, figures: &Figures) {
        match self.kind {
            Kind::Person => {
                self.standing = figures.line();
                print(&format!("\r\x1b[2K{}", self.standing));
            }
            Kind::Pipe | Kind::Json if self.last.is_some_and(|last| last.elapsed() < PIPE_EVERY) => {}
            Kind::Pipe => {
                self.last = Some(Instant::now());
                print(&format!("{}\n", figures.line()));
            }
            Kind::Json => {
                self.last = Some(Instant::now());
                let lag_ms = u64::try_from(figures.lag.as_millis()).unwrap_or(u64::MAX);
                print(&format!(
                    "{}\n",
                    json!({
                        "event": "status", "offered": figures.offered, "recorded": figures.recorded, "open": figures.open,
                        "missing": figures.missing, "doubled": figures.doubled, "rate": figures.rate, "lag_ms": lag_ms,
                    })
                ));
            }
        }
    }

    /// The last word: for programs one object, for people nothing more.
    pub fn result(&mut self, object: &serde_json::Value) {
        if self.kind == Kind::Json {
            print(&format!("{object}\n"));
        }
    }

    /// Keys of a person at a terminal; a channel that stays silent elsewhere.
    pub fn keys(&mut self, stop: Stop) -> mpsc::Receiver<Ask> {
        let (send, receive) = mpsc::channel(KEY_QUEUE);
        if self.kind == Kind::Person && std::io::stdin().is_terminal() && crossterm::terminal::enable_raw_mode().is_ok()
        {
            self.raw = true;
            let reader = std::thread::Builder::new().name("keys".to_owned());
            if reader.spawn(move || read_keys(&send, &stop)).is_err() {
                self.leave_raw();
            }
        }
        receive
    }

    /// Gives the terminal back as it was.
    pub fn leave_raw(&mut self) {
        if std::mem::take(&mut self.raw) {
            let _ = crossterm::terminal::disable_raw_mode();
            print("\r\n");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.leave_raw();
    }
}

fn read_keys(send: &mpsc::Sender<Ask>, stop: &Stop) {
    while !stop.at_once.is_cancelled() {
        // Looked at again now and then, so that this thread ends with the demo.
        match event::poll(Duration::from_millis(200)) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(_) => return,
        }
        let Ok(Event::Key(key)) = event::read() else { continue };
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let ask = match key.code {
            KeyCode::Char('c') if control => {
                stop.ask();
                continue;
            }
            KeyCode::Char('q') => {
                stop.ask();
                continue;
            }
            KeyCode::Char('a') => Ask::Attack,
            KeyCode::Char('k') => Ask::KillNode,
            KeyCode::Char('c') => Ask::ToggleCdr,
            KeyCode::Char('d') => Ask::ToggleDouble,
            KeyCode::Char('r') => Ask::Rebuild,
            _ => continue,
        };
        // After the traffic nobody obeys any more; a key that finds no room is a key too many.
        let _ = send.try_send(ask);
    }
}

/// A reader that went away is no reason to fail.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
