//! Asking hosts by logins whether another one has taken over.

use std::time::Instant;

use pgmonkey_connect::failover::Suspect;
use pgmonkey_connect::{ConnectTarget, Error, ServerSearch, limits};

use crate::session::connect::{ConnectOptions, Provider, carry_out};

/// Asks the suspect and, if it does not answer, the other hosts. Returns how many sessions were given
/// up.
pub(crate) async fn ask(
    connect_target: &ConnectTarget,
    provider: Option<&Provider>,
    suspect: Suspect,
) -> usize {
    let answer = log_in(connect_target, provider, connect_target.probe(&suspect)).await;
    let Some(dead) = suspect.answered(answer.as_ref().map(drop), Instant::now()) else {
        return 0;
    };
    let others = connect_target.probe_others(&dead);
    let other = log_in(connect_target, provider, others).await.ok();
    dead.asked_others(other.as_deref(), Instant::now())
}

/// Opens a session and closes it; returns the host.
async fn log_in(
    connect_target: &ConnectTarget,
    provider: Option<&Provider>,
    search: ServerSearch<'_>,
) -> Result<String, Error> {
    let options = ConnectOptions {
        provider,
        ..ConnectOptions::default()
    };
    let opened = carry_out(connect_target, search, options).await?;
    let farewell = Instant::now() + limits::FAREWELL;
    opened.connected_to.observer().limit_to(Some(farewell));
    Ok(opened.connected_to.host())
}
