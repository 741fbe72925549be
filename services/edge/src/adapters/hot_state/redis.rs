//! Edges that meet in Redis: one hash with a field per edge, which says when it spoke (by Redis' own clock) and what it uses.
//!
//! One script writes ours and reads all, so an exchange is one round trip and no two clocks are compared. Whoever has not spoken
//! within the lease is left out, and removed. Nothing in here is the only copy of anything: an empty Redis is full again after the
//! next exchange of each edge.

use std::collections::BTreeMap;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::io::tcp::TcpSettings;
use ::redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, Script};
use async_trait::async_trait;
use tokio::sync::Mutex;

use super::{HotError, HotState, PATIENCE};
use crate::core::admission::{Told, Use};

/// The arguments: edge, what it uses, lease (ms). The answer: edge and use, in turn.
const EXCHANGE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now) .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], 3600000)
local all, fresh = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
    local at, uses = string.match(all[i + 1], '^(%d+) (.*)$')
    if at and now - tonumber(at) < tonumber(ARGV[3]) then
        fresh[#fresh + 1] = all[i]
        fresh[#fresh + 1] = uses
    else
        redis.call('HDEL', KEYS[1], all[i])
    end
end
return fresh
";

pub struct Redis {
    client: Client,
    /// Made when there is none, dropped when it fails.
    connection: Mutex<Option<MultiplexedConnection>>,
    script: Script,
    key: String,
    lease: Duration,
}

impl Redis {
    /// Nothing is connected yet: an edge starts whether Redis is there or not.
    pub fn new(url: &str, key: &str, lease: Duration) -> Result<Redis, HotError> {
        // The error of a bad address would show its password.
        let address =
            url.into_connection_info().map_err(|_| HotError::Away("its address cannot be read".to_owned()))?;
        let address = address.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(address).map_err(away)?;
        let script = Script::new(EXCHANGE);
        Ok(Redis { client, connection: Mutex::new(None), script, key: key.to_owned(), lease })
    }

    async fn connection(&self) -> Result<MultiplexedConnection, HotError> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = &*kept {
            return Ok(connection.clone());
        }
        let settings =
            AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
        let made = self.client.get_multiplexed_async_connection_with_config(&settings).await.map_err(away)?;
        *kept = Some(made.clone());
        Ok(made)
    }
}

#[async_trait]
impl HotState for Redis {
    async fn exchange(&self, edge: &str, uses: &BTreeMap<String, Use>) -> Result<Told, HotError> {
        let text = serde_json::to_string(uses).map_err(|e| HotError::Foreign(e.to_string()))?;
        let mut connection = self.connection().await?;
        let lease = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        let asked: Result<Vec<String>, _> =
            self.script.key(&self.key).arg(edge).arg(text).arg(lease).invoke_async(&mut connection).await;
        let said = match asked {
            Ok(said) => said,
            Err(error) => {
                *self.connection.lock().await = None;
                return Err(away(error));
            }
        };
        let mut told = Told::default();
        for pair in said.chunks_exact(2) {
            let uses = serde_json::from_str(&pair[1]).map_err(|e| HotError::Foreign(e.to_string()))?;
            told.edges.insert(pair[0].clone(), uses);
        }
        Ok(told)
    }
}

fn away(error: ::redis::RedisError) -> HotError {
    HotError::Away(error.to_string())
}
