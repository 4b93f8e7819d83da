//! Instants as .NET keeps them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use jiff::civil;
use jiff::fmt::temporal::Pieces;

const TICKS_MAX: i64 = 3_155_378_975_999_999_999;
const TICKS_PER_SECOND: i64 = 10_000_000;
const UNIX_EPOCH_TICKS: i64 = 621_355_968_000_000_000;
const NANOSECOND_DIGITS: usize = 9;
const UNIX_EPOCH: civil::DateTime = civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// A UTC instant from 0001-01-01 to the end of 9999, in ticks of 100 ns: the range and the resolution of .NET's
/// `DateTime`.
///
/// Reads ISO 8601 dates with an optional time and offset; without an offset the time is UTC. Digits beyond 100 ns
/// are cut off. Prints as `2021-07-31T13:52:59Z`, with up to 7 digits of fraction if there is one.
///
/// ```
/// use vektonn_core::DateTime;
///
/// let instant: DateTime = "2021-07-31T15:52:59.25+02:00".parse()?;
/// assert_eq!(instant.to_string(), "2021-07-31T13:52:59.25Z");
/// assert_eq!(instant.ticks(), 637_633_363_792_500_000);
/// # Ok::<(), vektonn_core::DateTimeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTime(i64);

/// Why something is not a [`DateTime`].
///
/// ```
/// use vektonn_core::{DateTime, DateTimeError};
///
/// assert_eq!(DateTime::from_ticks(-1), Err(DateTimeError::OutOfRange));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DateTimeError {
    /// The text is not a date and time.
    #[error("expected an ISO 8601 date and time such as 2021-07-31T13:52:59Z, got '{text}'")]
    Syntax {
        /// The text.
        text: String,
    },
    /// The instant is before the year 1 or after the year 9999.
    #[error("a date and time must be within the years 1 to 9999 in UTC")]
    OutOfRange,
}

impl DateTime {
    /// The earliest instant, 0001-01-01T00:00:00Z.
    pub const MIN: Self = Self(0);
    /// The latest instant, 9999-12-31T23:59:59.9999999Z.
    pub const MAX: Self = Self(TICKS_MAX);

    /// The instant of the given number of 100 ns since 0001-01-01T00:00:00Z.
    ///
    /// # Errors
    /// [`DateTimeError::OutOfRange`] for negative ticks and for those beyond the year 9999.
    pub fn from_ticks(ticks: i64) -> Result<Self, DateTimeError> {
        if (0..=TICKS_MAX).contains(&ticks) { Ok(Self(ticks)) } else { Err(DateTimeError::OutOfRange) }
    }

    /// The number of 100 ns since 0001-01-01T00:00:00Z.
    pub fn ticks(self) -> i64 {
        self.0
    }

    /// The instant of a Unix time. Nanoseconds are cut off to 100 ns.
    ///
    /// # Errors
    /// [`DateTimeError::OutOfRange`].
    pub fn from_unix(seconds: i64, nanos: u32) -> Result<Self, DateTimeError> {
        let ticks =
            seconds.checked_mul(TICKS_PER_SECOND).and_then(|ticks| ticks.checked_add(UNIX_EPOCH_TICKS));
        let ticks = ticks.and_then(|ticks| ticks.checked_add(i64::from(nanos / 100)));
        Self::from_ticks(ticks.ok_or(DateTimeError::OutOfRange)?)
    }

    /// The Unix time: seconds since 1970 (negative before it), and nanoseconds from 0 to 999,999,900.
    pub fn unix(self) -> (i64, u32) {
        let ticks = self.0 - UNIX_EPOCH_TICKS;
        let nanos = ticks.rem_euclid(TICKS_PER_SECOND) * 100;
        (ticks.div_euclid(TICKS_PER_SECOND), nanos as u32)
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = self.unix();
        // Every value of this type is within jiff's years. Its durations reach them from 1970, but not from the year 1.
        let civil = UNIX_EPOCH.saturating_add(SignedDuration::new(seconds, nanos as i32));
        write!(f, "{civil}Z")
    }
}

impl FromStr for DateTime {
    type Err = DateTimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || DateTimeError::Syntax { text: text.to_owned() };
        let shortened = without_late_digits(text);
        let pieces = Pieces::parse(&*shortened).map_err(|_| syntax())?;
        if pieces.time_zone_annotation().is_some() {
            return Err(syntax());
        }
        let local = pieces.date().to_datetime(pieces.time().unwrap_or_default());
        let offset = pieces.to_numeric_offset().map_or(0, |offset| i64::from(offset.seconds()));
        let since_1970 = local.duration_since(UNIX_EPOCH).as_nanos().div_euclid(100);
        let ticks = since_1970 + i128::from(UNIX_EPOCH_TICKS - offset * TICKS_PER_SECOND);
        Self::from_ticks(i64::try_from(ticks).map_err(|_| DateTimeError::OutOfRange)?)
    }
}

/// The text without the digits of a fraction that are of less than a nanosecond: the parser refuses them.
fn without_late_digits(text: &str) -> Cow<'_, str> {
    let Some(fraction) = text.find(['.', ',']).map(|point| point + 1) else { return Cow::Borrowed(text) };
    let digits = text[fraction..].bytes().take_while(u8::is_ascii_digit).count();
    if digits <= NANOSECOND_DIGITS {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text[..fraction + NANOSECOND_DIGITS].to_owned() + &text[fraction + digits..])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<String, DateTimeError> {
        text.parse::<DateTime>().map(|instant| instant.to_string())
    }

    #[test]
    fn reads_what_clients_write() {
        let reads = [
            ("2021-07-31T13:52:59Z", "2021-07-31T13:52:59Z"),
            ("2021-07-31T13:52:59", "2021-07-31T13:52:59Z"),
            ("2021-07-31 13:52:59", "2021-07-31T13:52:59Z"),
            ("2021-07-31T13:52", "2021-07-31T13:52:00Z"),
            ("2021-07-31", "2021-07-31T00:00:00Z"),
            ("2021-07-31T13:52:59.123456+00:00", "2021-07-31T13:52:59.123456Z"),
            ("2021-07-31T13:52:59.1234567Z", "2021-07-31T13:52:59.1234567Z"),
            ("2021-07-31T13:52:59.1000000Z", "2021-07-31T13:52:59.1Z"),
            ("2021-07-31T13:52:59.123456789Z", "2021-07-31T13:52:59.1234567Z"),
            ("2021-07-31T13:52:59.12345678901234567890Z", "2021-07-31T13:52:59.1234567Z"),
            ("2021-07-31T13:52:59.0000000000+01:00", "2021-07-31T12:52:59Z"),
            ("2021-07-31T23:52:59-05:30", "2021-08-01T05:22:59Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.9999999Z"),
        ];
        for (text, printed) in reads {
            assert_eq!(parse(text).as_deref(), Ok(printed), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_an_instant_of_dotnet() {
        for text in
            ["", "now", "2021-13-01T00:00:00Z", "2021-02-30", "13:52:59", "2021-07-31T13:52:59[Europe/Paris]"]
        {
            assert_eq!(parse(text), Err(DateTimeError::Syntax { text: text.to_owned() }), "{text}");
        }
        for text in ["0000-12-31T23:59:59Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"] {
            assert_eq!(parse(text), Err(DateTimeError::OutOfRange), "{text}");
        }
        assert_eq!(DateTime::from_ticks(-1), Err(DateTimeError::OutOfRange));
        assert_eq!(DateTime::from_ticks(TICKS_MAX + 1), Err(DateTimeError::OutOfRange));
        assert_eq!(DateTime::from_unix(i64::MAX, 0), Err(DateTimeError::OutOfRange));
        assert_eq!(DateTime::from_unix(i64::MIN, 0), Err(DateTimeError::OutOfRange));
    }

    #[test]
    fn knows_the_ticks_of_dotnet() {
        assert_eq!("2021-07-31T13:52:59Z".parse::<DateTime>().unwrap().ticks(), 637_633_363_790_000_000);
        assert_eq!("1970-01-01".parse::<DateTime>().unwrap().ticks(), UNIX_EPOCH_TICKS);
        assert_eq!("9999-12-31T23:59:59.9999999Z".parse::<DateTime>().unwrap(), DateTime::MAX);
    }

    proptest! {
        #[test]
        fn printing_and_reading_give_the_same_instant(ticks in 0..=TICKS_MAX) {
            let instant = DateTime::from_ticks(ticks).unwrap();
            prop_assert_eq!(instant.to_string().parse(), Ok(instant));
            let (seconds, nanos) = instant.unix();
            prop_assert_eq!(DateTime::from_unix(seconds, nanos), Ok(instant));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = text.parse::<DateTime>();
        }
    }
}
