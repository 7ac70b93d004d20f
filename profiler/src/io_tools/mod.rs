//! What tools that count operations on files have in common. Their counts come from [`observe::io`](crate::observe::io).

mod accounts;
mod args;
mod base;
mod label;
mod stacks;
mod tables;
mod turns;

pub(crate) use self::{
    args::StacksArgs,
    base::{Base, Read, ground_of_trial, try_out},
    label::Label,
    stacks::Stacks,
    tables::{OPERATION, THREAD, Tabled, named},
    turns::{Turns, regular, wait},
};
