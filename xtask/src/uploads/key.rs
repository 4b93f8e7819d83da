//! What may be true of one key after a crash.

/// A key holds no point or one version of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Absent,
    Version(i64),
}

/// What the server acknowledged last for a key, and what was sent since without an acknowledgement.
#[derive(Clone, Debug)]
pub(super) struct KeyHistory {
    settled: State,
    in_flight: Vec<State>,
    last_version: i64,
}

/// How an observed state contradicts the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// An acknowledged point is not there.
    Lost,
    /// An older version than the acknowledged one is there.
    Stale,
    /// A point is there whose deletion was acknowledged.
    Resurrected,
}

impl KeyHistory {
    pub(super) fn new() -> Self {
        Self { settled: State::Absent, in_flight: vec![], last_version: 0 }
    }

    /// Sends the next version of the point; returns its number.
    pub(super) fn send_upsert(&mut self) -> i64 {
        self.last_version += 1;
        self.in_flight.push(State::Version(self.last_version));
        self.last_version
    }

    /// Sends a deletion.
    pub(super) fn send_delete(&mut self) {
        self.in_flight.push(State::Absent);
    }

    /// The server has acknowledged what was sent last, and with it the order: what was sent before is overwritten.
    pub(super) fn acknowledge(&mut self) {
        if let Some(state) = self.in_flight.pop() {
            self.settled = state;
            self.in_flight.clear();
        }
    }

    /// After a restart what is there is the truth from now on.
    pub(super) fn observe(&mut self, observed: State) {
        self.settled = observed;
        self.in_flight.clear();
    }

    /// Compares with what is there.
    pub(super) fn allows(&self, observed: State) -> Result<(), Loss> {
        if observed == self.settled || self.in_flight.contains(&observed) {
            return Ok(());
        }
        Err(match (self.settled, observed) {
            (_, State::Absent) => Loss::Lost,
            (State::Absent, State::Version(_)) => Loss::Resurrected,
            (State::Version(_), State::Version(_)) => Loss::Stale,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledged_change_must_be_there() {
        let mut key = KeyHistory::new();
        assert_eq!(key.send_upsert(), 1);
        key.acknowledge();
        assert_eq!(key.allows(State::Version(1)), Ok(()));
        assert_eq!(key.allows(State::Absent), Err(Loss::Lost));
        key.send_upsert();
        key.acknowledge();
        assert_eq!(key.allows(State::Version(1)), Err(Loss::Stale));
        key.send_delete();
        key.acknowledge();
        assert_eq!(key.allows(State::Version(2)), Err(Loss::Resurrected));
    }

    #[test]
    fn an_unacknowledged_change_is_old_or_new_until_it_is_seen() {
        let mut key = KeyHistory::new();
        key.send_upsert();
        assert_eq!(key.allows(State::Absent), Ok(()));
        assert_eq!(key.allows(State::Version(1)), Ok(()));
        key.observe(State::Version(1));
        assert_eq!(key.allows(State::Absent), Err(Loss::Lost));
        key.send_delete();
        key.send_upsert();
        assert_eq!(key.allows(State::Absent), Ok(()));
        key.acknowledge();
        assert_eq!(key.allows(State::Absent), Err(Loss::Lost));
        assert_eq!(key.allows(State::Version(2)), Ok(()));
    }
}
