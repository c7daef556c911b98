//! replays.
