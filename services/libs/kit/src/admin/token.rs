//! The token that guards a listener, and the rule when there must be one.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::Secret;

pub const MIN_TOKEN_CHARS: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error(
        "{bind} is not a loopback address, so a token is needed: set {setting} to a file with at least {MIN_TOKEN_CHARS} \
         characters (umask 077; head -c 32 /dev/urandom | base64 > trunkline.token), or bind to 127.0.0.1"
    )]
    Needed { setting: String, bind: SocketAddr },
    #[error("{setting}: cannot read {path}: {source}", path = .path.display())]
    Unreadable { setting: String, path: PathBuf, source: std::io::Error },
    #[error(
        "{setting}: {path} holds {chars} characters, at least {MIN_TOKEN_CHARS} are needed; make one with: \
         (umask 077; head -c 32 /dev/urandom | base64 > {path})", path = .path.display()
    )]
    Short { setting: String, path: PathBuf, chars: usize },
    #[error("{setting}: {path} holds something other than one line of printable characters", path = .path.display())]
    Odd { setting: String, path: PathBuf },
}

/// What a client must show. One session value per process stands for it in browsers, so the token itself is in no cookie.
#[derive(Clone)]
pub struct Token {
    text: Secret,
    session: Secret,
}

impl Token {
    /// The token for a listener on `bind`; `None` when it is open, which only a loopback one may be.
    pub fn load(setting: &str, bind: SocketAddr, file: Option<&Path>) -> Result<Option<Token>, TokenError> {
        let setting = setting.to_owned();
        let Some(path) = file else {
            let loopback = bind.ip().to_canonical().is_loopback();
            return if loopback { Ok(None) } else { Err(TokenError::Needed { setting, bind }) };
        };
        let path = path.to_owned();
        let mut text = String::new();
        // A bound, in case somebody names /dev/zero.
        let read = std::fs::File::open(&path).and_then(|file| file.take(64 * 1024).read_to_string(&mut text));
        if let Err(source) = read {
            return Err(TokenError::Unreadable { setting, path, source });
        }
        let text = text.trim();
        if !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err(TokenError::Odd { setting, path });
        }
        if text.len() < MIN_TOKEN_CHARS {
            return Err(TokenError::Short { setting, path, chars: text.len() });
        }
        let session = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        Ok(Some(Token { text: Secret::new(text), session: Secret::new(session) }))
    }

    pub(super) fn matches(&self, given: &str) -> bool {
        same(self.text.expose(), given)
    }

    pub(super) fn matches_session(&self, given: &str) -> bool {
        same(self.session.expose(), given)
    }

    pub(super) fn session(&self) -> &str {
        self.session.expose()
    }
}

/// Takes the same time wherever the first difference is. The length is no secret.
fn same(ours: &str, given: &str) -> bool {
    let differs = ours.bytes().zip(given.bytes()).fold(0, |acc, (a, b)| std::hint::black_box(acc | (a ^ b)));
    ours.len() == given.len() && differs == 0
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn only_equal_tokens_match() {
        assert!(same("abc", "abc"));
        for other in ["", "ab", "abcd", "abd", "bbc"] {
            assert!(!same("abc", other), "{other}");
        }
    }
}
