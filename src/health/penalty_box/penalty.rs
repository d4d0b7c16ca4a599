//! The parameters of the penalty box, of the strikes that lead into it and of the way back.

use std::time::Duration;

use crate::build_error::BuildError;

/// A field and a setter for each entry of the list.
macro_rules! penalty {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty;)+) => {
        /// How nodes are put out of service and how they come back: the back-off of the penalty box, what
        /// it takes to get in, and what it takes to return.
        ///
        /// [`Penalty::default`] ejects on proof at once and on suspicion after three strikes, waits
        /// 100 ms, 200 ms, ... up to 5 s between probes, and asks for two good probes and a short
        /// probation before it trusts a node again. [`Penalty::fluster_py`] behaves like the Python
        /// library this crate is a port of.
        ///
        /// Durations that are zero mean "at once" or, where a rule says so, "never".
        ///
        /// ```
        /// use std::time::Duration;
        /// use fluster::Penalty;
        ///
        /// let penalty = Penalty::default().min_wait(Duration::from_millis(50)).strikes(5);
        /// assert_eq!(penalty.min_wait, Duration::from_millis(50));
        /// assert!(penalty.validate().is_ok());
        /// assert!(penalty.min_wait(Duration::ZERO).validate().is_err());
        /// ```
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        #[doc(alias = "backoff")]
        #[doc(alias = "circuit breaker")]
        #[doc(alias = "reconnect")]
        #[doc(alias = "health check")]
        pub struct Penalty {
            $(
                $(#[doc = $doc])+
                pub $name: $type,
            )+
        }

        impl Penalty {
            $(
                #[doc = concat!("Sets [`", stringify!($name), "`](field@Self::", stringify!($name), ").")]
                #[doc = ""]
                $(#[doc = $doc])+
                ///
                /// [Example](crate::guide::by_example#penalty).
                #[must_use]
                pub fn $name(mut self, $name: $type) -> Self {
                    self.$name = $name;
                    self
                }
            )+
        }
    };
}

/// Hands the list of the parameters to another macro.
macro_rules! parameters {
    ($then:ident) => {
        $then! {
            /// How long a node waits after its first ejection, before its first probe. Default: 100 ms.
            min_wait: Duration;
            /// The longest wait between two probes of a node that stays down. Default: 5 s.
            max_wait: Duration;
            /// By how much each failed probe lengthens the next wait; at least 1. Default: 2.
            multiplier: f64;
            /// Whether each wait is drawn from the upper half of its length, so that many clients do not
            /// probe a returning server in the same instant. Default: on.
            jitter: bool;
            /// How many strikes in a row eject a node; any success in between starts anew. Time-outs of
            /// commands sent within one response time-out of the first are one strike. Default: 3.
            strikes: u32;
            /// How long a strike is remembered. Default: 10 s.
            strike_window: Duration;
            /// How many results, counted from the first bad one, the share of bad ones needs before it is
            /// judged; 0 turns that rule off. Default: 20.
            rate_min: u32;
            /// Over how long the share of bad results is taken. Default: 10 s.
            rate_window: Duration;
            /// From which share of bad results a node is ejected, in per cent. Default: 50.
            rate_percent: u32;
            /// How many good probes in a row bring a node back. Default: 2.
            rise: u32;
            /// The longest wait between two of those probes. Default: 50 ms.
            probe_gap: Duration;
            /// How long a probe may take: connecting, authenticating and one `PING`. Default: 500 ms.
            probe_timeout: Duration;
            /// The longest wait between two probes of a server that says itself that it is not ready
            /// (`LOADING`, `MASTERDOWN`, `CLUSTERDOWN`). Default: 1 s.
            not_ready_max: Duration;
            /// How long a returned node is on probation, where a single strike ejects it again; zero for
            /// no probation. Default: 5 s.
            probation: Duration;
            /// How many successes end probation early. Default: 20.
            probation_oks: u32;
            /// How long a node must serve to be forgiven one step of its back-off; zero forgives all of
            /// them the moment it serves again. Default: 10 s.
            decay: Duration;
            /// How many ejections within `flap_window` make a node a flapping one;
            /// 0 turns that rule off. Default: 5.
            flap_count: u32;
            /// Over how long ejections are counted. Default: 60 s.
            flap_window: Duration;
            /// How long a flapping node waits at most, if it would not wait longer anyway; while fewer than half
            /// of the nodes admit it waits no longer than any other. Default: 5 s.
            flap_hold: Duration;
            /// The shortest pause between two probes of a node that callers ask for while no other node
            /// can serve them. Default: 100 ms.
            demand_min: Duration;
            /// The longest pause between two such probes. Default: 500 ms.
            demand_max: Duration;
        }
    };
}
#[cfg(feature = "serde")]
pub(crate) use parameters;

parameters!(penalty);

impl Default for Penalty {
    fn default() -> Self {
        Self {
            min_wait: Duration::from_millis(100),
            max_wait: Duration::from_secs(5),
            multiplier: 2.0,
            jitter: true,
            strikes: 3,
            strike_window: Duration::from_secs(10),
            rate_min: 20,
            rate_window: Duration::from_secs(10),
            rate_percent: 50,
            rise: 2,
            probe_gap: Duration::from_millis(50),
            probe_timeout: Duration::from_millis(500),
            not_ready_max: Duration::from_secs(1),
            probation: Duration::from_secs(5),
            probation_oks: 20,
            decay: Duration::from_secs(10),
            flap_count: 5,
            flap_window: Duration::from_secs(60),
            flap_hold: Duration::from_secs(5),
            demand_min: Duration::from_millis(100),
            demand_max: Duration::from_millis(500),
        }
    }
}

impl Penalty {
    /// The rules of the Python library: 10 s, then half as long again each time, up to 300 s; the
    /// first connection error or time-out ejects, the first good probe brings back and forgives.
    ///
    /// No jitter, no probation, no flap rule, and callers who find no node do not hurry probes.
    /// Three things differ: waits keep their fractions (the original rounds them down to whole
    /// seconds, so that a wait of 0.5 s becomes 0 s for ever); time-outs alone still never take
    /// more than half of the nodes; and a server that refuses our password or is no Redis at all
    /// waits the longest wait at once.
    ///
    /// ```
    /// use std::time::Duration;
    /// use fluster::Penalty;
    ///
    /// let penalty = Penalty::fluster_py().min_wait(Duration::from_millis(500));
    /// assert_eq!(penalty.multiplier, 1.5); // waits 0.5 s, 0.75 s, 1.125 s, ...
    /// ```
    #[must_use]
    pub fn fluster_py() -> Self {
        let longest = Duration::from_secs(300);
        Self {
            min_wait: Duration::from_secs(10),
            max_wait: longest,
            multiplier: 1.5,
            jitter: false,
            strikes: 1,
            rise: 1,
            // The original knows no special case for a server that is loading.
            not_ready_max: longest,
            probation: Duration::ZERO,
            decay: Duration::ZERO,
            flap_count: 0,
            demand_min: longest,
            demand_max: longest,
            ..Self::default()
        }
    }

    /// Checks that the parameters are in range and do not contradict each other. [Example](crate::guide::by_example#penalty).
    ///
    /// # Errors
    ///
    /// [`BuildError::Option`] with the name `penalty` and what to change.
    pub fn validate(&self) -> Result<(), BuildError> {
        let why = if self.min_wait.is_zero() {
            "min_wait is zero: a dead node would be probed without a pause; use 100 ms"
        } else if self.min_wait > self.max_wait {
            "min_wait exceeds max_wait: raise max_wait"
        } else if !self.multiplier.is_finite() || self.multiplier < 1.0 {
            "multiplier must be a finite number of at least 1"
        } else if self.strikes == 0 {
            "strikes is 0: use 1 to eject at the first strike"
        } else if self.rate_percent == 0 || self.rate_percent > 100 {
            "rate_percent must be 1 to 100"
        } else if self.rise == 0 {
            "rise is 0: a node needs at least 1 good probe to come back"
        } else if self.probe_timeout.is_zero() {
            "probe_timeout is zero: no probe could ever succeed; use 500 ms"
        } else if self.not_ready_max.is_zero() {
            "not_ready_max is zero: a loading server would be probed without a pause; use 1 s"
        } else if !self.probation.is_zero() && self.probation_oks == 0 {
            "probation_oks is 0: set probation to zero for no probation"
        } else if self.flap_count > 0 && self.flap_hold < self.min_wait {
            "flap_hold is shorter than min_wait: raise it, or set flap_count to 0"
        } else if self.demand_min.is_zero() {
            "demand_min is zero: callers would make probes follow each other without a pause"
        } else if self.demand_min > self.demand_max {
            "demand_min exceeds demand_max: raise demand_max"
        } else {
            return Ok(());
        };
        Err(BuildError::Option {
            name: "penalty",
            why: why.to_owned(),
        })
    }
}
