//! The stacks of single operations.

use std::collections::BTreeMap;

use profiler_common::{io::IoSample, record::NO_STACK};

use crate::{
    observe::{Observation, Part, io::Samples},
    report::{StackRef, identity::identify},
    stack::own::{Named, Weight},
    text::Text,
};

/// Numbers of stacks as indices into a part of the report, and what names them.
#[derive(Default)]
pub(crate) struct Stacks {
    places: BTreeMap<u32, usize>,
    names: BTreeMap<u32, Text>,
}

impl Stacks {
    /// Names the stacks that were taken, and adds them to the part.
    pub(crate) fn of(on: &Observation<'_>, samples: &Samples, part: &mut Part) -> Stacks {
        let mut weights: BTreeMap<u32, Weight> = BTreeMap::new();
        for ((_, stack), (count, _)) in &samples.stacks {
            let weight = weights.entry(*stack).or_insert(Weight { stack: *stack, ..Weight::default() });
            weight.things += count;
        }
        for stack in samples.longest.iter().map(IoSample::stack).filter(|stack| *stack != NO_STACK) {
            weights.entry(stack).or_insert(Weight { stack, things: 1, ..Weight::default() });
        }
        part.walked = weights.values().map(|weight| (weight.stack, weight.things)).collect();
        let weights: Vec<Weight> = weights.into_values().collect();
        let named = Named::new(&weights, |number, frames| on.stack_of(number, frames));
        let (found, frames) = named.report(weights.iter().map(|weight| weight.stack));
        let mut stacks = Stacks::default();
        for (weight, stack) in weights.iter().zip(found) {
            if let Some(stack) = stack {
                stacks.places.insert(weight.stack, part.stacks.len());
                part.stacks.push(stack);
            }
            if let Some(own) = named.own(weight.stack) {
                stacks.names.insert(weight.stack, own.label.clone());
            }
        }
        part.frames = frames;
        identify(&mut part.stacks, &part.frames);
        stacks
    }

    /// A stack, for the row of a table.
    pub(crate) fn reference(&self, stack: Option<u32>) -> Vec<StackRef> {
        StackRef::user(stack.and_then(|stack| self.places.get(&stack).copied()))
    }

    /// The name of the function that stands for a stack.
    pub(crate) fn name(&self, stack: Option<u32>) -> Option<&Text> {
        self.names.get(&stack?)
    }
}
