//! One observation of one or several tools: what they share, whatever they are.

pub(crate) mod ground;
