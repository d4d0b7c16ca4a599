//! Instances of an application know each other: who is there, and which keys are whose.

mod counters;
mod events;
mod frame;
mod heal;
mod identity;
mod instance;
mod leave;
mod profile;
mod record;
mod records;
mod replay;
mod swim;
mod sync;
mod view;

pub use self::events::{GossipEvent, GossipEvents};
pub use self::frame::Refusal;
pub use self::heal::HealReport;
pub use self::leave::LeaveReport;
pub use self::profile::GossipProfile;
pub use self::record::Phase;
pub use self::view::{Member, MemberState, MemberView};
pub use crate::sealed::{KeyError, Keyring};

#[cfg(test)]
mod vsim;
