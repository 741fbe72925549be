//! `show channels as json`: what a node has open now.

use std::collections::HashMap;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Listing {
    #[serde(default)]
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    uuid: String,
    #[serde(default)]
    application: String,
}

/// Channel → the application that it runs. `None` when the text is no listing, and then nothing may be concluded from it.
pub(crate) fn read(text: &str) -> Option<HashMap<String, String>> {
    let listing: Listing = serde_json::from_str(text.trim()).ok()?;
    Some(listing.rows.into_iter().map(|row| (row.uuid, row.application)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_names_channels_and_their_applications() {
        let text = r#"{"row_count":1,"rows":[{"uuid":"0192f0aa-0000-7000-8000-0000000000aa","application":"park","secure":""}]}"#;
        assert_eq!(read(text).expect("a listing")["0192f0aa-0000-7000-8000-0000000000aa"], "park");
        assert_eq!(read("{\"row_count\":0}\n").map(|rows| rows.len()), Some(0));
        assert_eq!(read("-ERR no reply"), None);
    }
}
