//! A message that is about to be handed out.

use std::sync::Arc;

use crate::clock;
use crate::queue::buffer::Parcel;
use crate::queue::delivery::Delivery;
use crate::queue::maintenance;
use crate::queue::shared::{QueueShared, Source};

/// Taken out of the buffer; put back there when it is dropped before it became a delivery.
pub(crate) struct Held {
    shared: Arc<QueueShared>,
    source: Arc<Source>,
    parcel: Option<Parcel>,
}

impl Held {
    pub(crate) fn new(shared: Arc<QueueShared>, source: Arc<Source>, parcel: Parcel) -> Self {
        Self {
            shared,
            source,
            parcel: Some(parcel),
        }
    }

    /// Makes a delivery of it. A suspect is noted on its server first; nothing when that fails, or it is this
    /// consumer's no more: then it is left to the end of its lease.
    pub(crate) async fn begin(mut self) -> Option<Delivery> {
        let suspect = self.parcel.as_ref().filter(|p| p.message.suspect);
        let place = suspect.map(|p| p.place);
        let begins = match place {
            Some(place) => maintenance::begin(&self.shared, &self.source, place).await,
            None => Ok(true),
        };
        let parcel = self.parcel.take()?;
        match begins {
            Ok(true) => {
                let (shared, source) = (Arc::clone(&self.shared), Arc::clone(&self.source));
                Some(Delivery::new(shared, source, parcel))
            }
            Ok(false) | Err(_) => {
                self.shared.forget(self.source.slot, parcel.place);
                None
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(parcel) = self.parcel.take() {
            let mut state = self.shared.state.lock();
            state
                .buffer
                .put_back(self.source.slot, parcel, clock::now());
            self.shared.stocked.notify_one();
        }
    }
}
