//! One pool's state, decided without I/O.
//!
//! | What | Where |
//! |---|---|
//! | which caller gets which session, what is opened, what is closed, when it sleeps | [`PoolState`], in `state` |
//! | requests, and the actions that each event returns | `outcome` |
//! | idle sessions | `idle` |
//! | sessions in use | `checkouts` |
//! | whether and when to retry a server | `pacing` |
//! | the runtime in which a session may be used | `home` |
//! | limits from the settings | `limits` |
//! | the slot through which a waiter receives its session | `slot` |
//! | the state behind its lock, and the actions after an event | [`PoolCore`], in `shell` |
//! | one session in use | [`Checkout`] |
//! | what one caller asks for | [`Caller`] |
//! | one caller's position in the queue | [`Waiter`] |
//! | one idle session that maintenance checks | [`IdleCheck`] |
//! | one session being opened | [`ConnectTask`] |
//! | how many sessions several pools may have at one server | [`Budget`] |
//! | the pool's name and target | [`Label`] |
//! | when a session reaches its maximum lifetime | [`expiry`] |
//! | how a returned session is reset | [`recycle`] |
//! | what a hook's answer means for a session | [`hook`] |

mod budget;
mod caller;
mod checkout;
mod checkouts;
mod connect_task;
pub mod expiry;
mod home;
pub mod hook;
mod idle;
mod idle_check;
mod label;
mod limits;
mod outcome;
mod pacing;
pub mod recycle;
mod shell;
mod slot;
mod state;
mod sync;
mod waiter;

pub use budget::{Budget, Budgets, Permit};
pub use caller::Caller;
pub use checkout::{Checkout, InUse};
pub use checkouts::{CheckoutId, Overdue};
pub use connect_task::ConnectTask;
pub use home::Home;
pub use idle_check::IdleCheck;
pub use label::Label;
pub use limits::{Limits, check_sizes, interval};
pub use outcome::{
    Acquired, Granted, Released, Request, Site, Step, Ticket, TimedOut, Todo, Unchecked, Usage,
};
pub use shell::{
    Acquiring, Drained, PoolCore, Shell, acquire, acquire_idle, close, drained, end_all, join,
    resize, sleep, tick,
};
pub use slot::{SharedSlot, Slot};
pub use state::PoolState;
pub use waiter::Waiter;

#[cfg(test)]
mod tests;
