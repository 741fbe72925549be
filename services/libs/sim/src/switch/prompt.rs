//! How long a prompt plays: the one thing of media that an IVR can see from outside.
//!
//! Tones are read from their text. Files do not exist here: their length comes from the name (`welcome-1500ms.wav`), else a fixed
//! second, so that scenarios are repeatable on any machine.

use std::time::Duration;

const FILE: Duration = Duration::from_secs(1);

/// The duration of a playable argument; nothing when FreeSWITCH would fail to open it.
pub(super) fn duration(file: &str) -> Option<Duration> {
    if file.is_empty() || file.contains("no-such-file") {
        return None;
    }
    if let Some(all) = file.strip_prefix("file_string://") {
        return all.split('!').map(duration).sum();
    }
    if let Some(rest) = file.strip_prefix("silence_stream://") {
        let ms: i64 = rest.split([',', ';']).next()?.trim().parse().ok()?;
        return Some(if ms < 0 { Duration::MAX } else { Duration::from_millis(ms.unsigned_abs()) });
    }
    if let Some(rest) = file.strip_prefix("tone_stream://") {
        return tone(rest);
    }
    Some(named(file).unwrap_or(FILE))
}

/// The word FreeSWITCH puts into `Playback-File-Type`.
pub(super) fn kind(file: &str) -> &'static str {
    if file.starts_with("tone_stream://") { "tone_stream" } else { "file" }
}

/// `%(on,off,hz[,hz])` repeated, `L=n` for the number of loops (-1 = for ever).
fn tone(text: &str) -> Option<Duration> {
    let (body, loops) = match text.split_once(";loops=") {
        Some((body, loops)) => (body, loops.parse().unwrap_or(1)),
        None => (text, 1_i64),
    };
    let mut total = Duration::ZERO;
    let mut times = loops;
    for part in body.split(';') {
        if let Some(n) = part.trim().strip_prefix("L=") {
            times = n.parse().ok()?;
        }
        for tone in part.split("%(").skip(1) {
            let inner = tone.split(')').next()?;
            let mut numbers = inner.split(',').map(|n| n.trim().parse::<u64>());
            let (on, off) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
            total += Duration::from_millis(on + off);
        }
    }
    (!total.is_zero()).then(|| if times < 0 { Duration::MAX } else { total * u32::try_from(times.max(1)).unwrap_or(1) })
}

/// `…-1500ms.wav` plays one and a half seconds.
fn named(file: &str) -> Option<Duration> {
    let stem = file.rsplit('/').next()?.split('.').next()?;
    let ms = stem.rsplit(['-', '_']).next()?.strip_suffix("ms")?;
    Some(Duration::from_millis(ms.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tones_silence_and_named_files_have_their_length() {
        let ms = |n| Some(Duration::from_millis(n));
        assert_eq!(duration("tone_stream://%(400,100,440)"), ms(500));
        assert_eq!(duration("tone_stream://%(300,50,600);%(100,0,300)"), ms(450));
        assert_eq!(duration("tone_stream://L=3;%(100,100,350,440)"), ms(600));
        assert_eq!(duration("tone_stream://%(1000,0,640);loops=-1"), Some(Duration::MAX));
        assert_eq!(duration("silence_stream://250"), ms(250));
        assert_eq!(duration("prompts/en/welcome-1500ms.wav"), ms(1500));
        assert_eq!(duration("prompts/en/welcome.wav"), ms(1000));
        assert_eq!(duration("file_string://a-200ms.wav!b-300ms.wav"), ms(500));
        assert_eq!(duration(""), None);
        assert_eq!(duration("tone_stream://nonsense"), None);
    }
}
