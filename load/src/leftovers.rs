//! Topics that a run made on somebody's broker and that nobody needs afterwards.

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};

/// Deletes every topic of ours with these prefixes when it is dropped.
pub struct Leftovers {
    pub bootstrap: String,
    pub prefixes: Vec<String>,
}

impl Leftovers {
    fn delete(&self) -> anyhow::Result<()> {
        let all = schemas::all_topics().iter();
        let names: Vec<String> =
            all.flat_map(|topic| self.prefixes.iter().map(move |prefix| format!("{prefix}{}", topic.name))).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create()?;
        // Most were never made; what the broker says about each of them is of no use.
        tokio::runtime::Runtime::new()?.block_on(admin.delete_topics(&names, &AdminOptions::new()))?;
        Ok(())
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        if let Err(error) = self.delete() {
            eprintln!("topics {:?} stay on the broker: {error}", self.prefixes);
        }
    }
}
