//! What calls took together.

use std::fmt;

use wardian_events::ModelCall;

use crate::units::{self, dollars};

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    calls: u64,
    input: u64,
    cached: u64,
    output: u64,
    micro_usd: u64,
    /// Calls whose tokens are known and their price is not.
    unpriced: u64,
}

impl Totals {
    pub(super) fn add(&mut self, call: &ModelCall) {
        let tokens = &call.tokens;
        self.calls += 1;
        let add = |sum: &mut u64, count: Option<u64>| *sum = sum.saturating_add(count.unwrap_or(0));
        add(&mut self.input, tokens.input);
        add(&mut self.cached, tokens.cached_read);
        add(&mut self.output, tokens.output);
        add(&mut self.micro_usd, call.cost_micro_usd);
        let counted = tokens.input.is_some() && tokens.output.is_some();
        self.unpriced += u64::from(counted && call.cost_micro_usd.is_none());
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            calls,
            input,
            cached,
            output,
            micro_usd,
            unpriced,
        } = self;
        if *calls == 0 {
            return f.write_str("no calls of language models");
        }
        write!(f, "{}: {input} tokens in", units::count(*calls, "call"))?;
        if *cached > 0 {
            write!(f, " ({cached} of them cached)")?;
        }
        write!(f, ", {output} out, {} at list prices", dollars(*micro_usd))?;
        if *unpriced > 0 {
            write!(
                f,
                " and {} without a price",
                units::count(*unpriced, "call")
            )?;
        }
        Ok(())
    }
}
