//! The pure rules of Faultline: names, limits, states, back-off, ids; no clock, no SQL, no runtime
