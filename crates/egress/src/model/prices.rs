//! What tokens cost.
//!
//! Prices change, and no vendor's answer tells them. So there is a table in the program, which says as of when, and the
//! user's own before it. A model that neither knows has no cost, which is not the same as none.

use serde::Deserialize;
use wardian_events::ModelTokens;

const BUILT_IN: &str = include_str!("prices.toml");

/// Tables of prices, the first one first.
#[derive(Debug, Clone)]
pub struct Prices(Vec<Table>);

#[derive(Debug, Clone)]
struct Table {
    /// As events name it.
    name: String,
    prices: Vec<Price>,
}

/// A table cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    #[error("the price of {model} is no number of dollars: {price}")]
    NotAPrice { model: String, price: f64 },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    as_of: Option<String>,
    #[serde(default)]
    price: Vec<Price>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    /// `*` stands for any text.
    model: String,
    input: f64,
    output: f64,
    cached_read: Option<f64>,
    cached_write: Option<f64>,
    cached_write_hour: Option<f64>,
    above: Option<Above>,
}

/// Prices of calls with more input than `tokens`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Above {
    tokens: u64,
    input: f64,
    output: f64,
    cached_read: Option<f64>,
    cached_write: Option<f64>,
    cached_write_hour: Option<f64>,
}

/// US dollars per million tokens.
struct Rates {
    input: f64,
    output: f64,
    cached_read: Option<f64>,
    cached_write: Option<f64>,
    cached_write_hour: Option<f64>,
}

/// The cost of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    pub micro_usd: u64,
    /// The table and the entry: `built-in 2026-10: claude-opus-4-6*`.
    pub price: String,
}

impl Prices {
    /// The table of this program.
    pub fn built_in() -> Self {
        let mut prices = Self(Vec::new());
        prices
            .add("built-in", BUILT_IN)
            .expect("a test reads this very table");
        prices
    }

    /// The text of a table that goes before the one of this program.
    pub fn with_own(text: &str) -> Result<Self, PriceError> {
        let mut prices = Self(Vec::new());
        prices.add("prices.toml", text)?;
        prices.0.extend(Self::built_in().0);
        Ok(prices)
    }

    fn add(&mut self, name: &str, text: &str) -> Result<(), PriceError> {
        let File { as_of, price } = toml::from_str(text)?;
        for price in &price {
            price.check()?;
        }
        self.0.push(Table {
            name: as_of.map_or(name.to_owned(), |as_of| format!("{name} {as_of}")),
            prices: price,
        });
        Ok(())
    }

    /// None: neither model has a price, or the vendor did not count both ways. Of the two names the one that answered is
    /// looked for first, since it tells the version.
    pub fn cost(
        &self,
        answered: Option<&str>,
        asked: Option<&str>,
        tokens: &ModelTokens,
    ) -> Option<Cost> {
        let (input, output) = (tokens.input?, tokens.output?);
        let find = |model: &str| {
            self.0.iter().find_map(|table| {
                let matches = |price: &&Price| matches(&price.model, model);
                Some((table, table.prices.iter().find(matches)?))
            })
        };
        let (table, price) = answered.and_then(find).or_else(|| asked.and_then(find))?;
        let rates = price.rates(input);
        let read = tokens.cached_read.unwrap_or(0).min(input);
        let write = tokens.cached_write.unwrap_or(0).min(input - read);
        let hour = tokens.cached_write_hour.unwrap_or(0).min(write);
        let write_rate = rates.cached_write.unwrap_or(rates.input);
        let dollars_times_a_million = [
            (input - read - write, rates.input),
            (read, rates.cached_read.unwrap_or(rates.input)),
            (write - hour, write_rate),
            (hour, rates.cached_write_hour.unwrap_or(write_rate)),
            (output, rates.output),
        ]
        .into_iter()
        .map(|(tokens, rate)| tokens as f64 * rate)
        .sum::<f64>();
        Some(Cost {
            micro_usd: dollars_times_a_million.round() as u64,
            price: format!("{}: {}", table.name, price.model),
        })
    }
}

impl Price {
    fn check(&self) -> Result<(), PriceError> {
        let all = |rates: Rates| {
            let Rates {
                input,
                output,
                cached_read,
                cached_write,
                cached_write_hour,
            } = rates;
            let cached = [cached_read, cached_write, cached_write_hour];
            [input, output]
                .into_iter()
                .chain(cached.into_iter().flatten())
        };
        let mut rates = all(self.rates(0)).chain(all(self.rates(u64::MAX)));
        match rates.find(|rate| !rate.is_finite() || *rate < 0.0) {
            None => Ok(()),
            Some(price) => Err(PriceError::NotAPrice {
                model: self.model.clone(),
                price,
            }),
        }
    }

    fn rates(&self, input: u64) -> Rates {
        match &self.above {
            Some(above) if input > above.tokens => Rates {
                input: above.input,
                output: above.output,
                cached_read: above.cached_read,
                cached_write: above.cached_write,
                cached_write_hour: above.cached_write_hour,
            },
            _ => Rates {
                input: self.input,
                output: self.output,
                cached_read: self.cached_read,
                cached_write: self.cached_write,
                cached_write_hour: self.cached_write_hour,
            },
        }
    }
}

/// Does `model` match `pattern`, in which `*` stands for any text? Where vendors or gateways put a name of their own
/// before the model's (`anthropic/claude-..`, `models/gemini-..`), what follows the last `/` may match as well.
fn matches(pattern: &str, model: &str) -> bool {
    let bare = model.rsplit('/').next().unwrap_or_default();
    is_like(pattern, model) || is_like(pattern, bare)
}

fn is_like(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(pieces.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(input: u64, read: u64, write: u64, hour: u64, output: u64) -> ModelTokens {
        ModelTokens {
            input: Some(input),
            output: Some(output),
            cached_read: Some(read),
            cached_write: Some(write),
            cached_write_hour: Some(hour),
            reasoning: None,
        }
    }

    fn micro_usd(model: &str, tokens: &ModelTokens) -> Option<u64> {
        let cost = Prices::built_in().cost(Some(model), None, tokens);
        cost.map(|cost| cost.micro_usd)
    }

    #[test]
    fn each_kind_of_token_has_its_price() {
        // 100 x 5 + 1000 x 0.5 + 200 x 6.25 + 100 x 10 + 50 x 25
        let usage = tokens(1400, 1000, 300, 100, 50);
        assert_eq!(micro_usd("claude-opus-4-6", &usage), Some(4500));
        assert_eq!(
            micro_usd("anthropic/claude-opus-4-6-20260115", &usage),
            Some(4500)
        );
        assert_eq!(
            micro_usd("gpt-5-codex", &tokens(100, 0, 0, 0, 20)),
            Some(325)
        );
    }

    #[test]
    fn long_input_has_its_price_too() {
        let short = micro_usd("gemini-2.5-pro", &tokens(200_000, 0, 0, 0, 0));
        let long = micro_usd("gemini-2.5-pro", &tokens(200_001, 0, 0, 0, 0));
        assert_eq!((short, long), (Some(250_000), Some(500_003)));
    }

    #[test]
    fn what_is_not_known_is_not_free() {
        assert_eq!(micro_usd("llama-at-home", &tokens(1, 0, 0, 0, 1)), None);
        assert_eq!(micro_usd("gpt-5-pro", &tokens(1, 0, 0, 0, 1)), None);
        assert_eq!(micro_usd("gpt-5", &ModelTokens::default()), None);
    }

    #[test]
    fn the_users_table_goes_first() {
        let own = "[[price]]\nmodel = \"gpt-5*\"\ninput = 100\noutput = 0";
        let prices = Prices::with_own(own).unwrap();
        let usage = tokens(3, 0, 0, 0, 0);
        let cost = prices.cost(None, Some("gpt-5"), &usage).unwrap();
        assert_eq!(
            (cost.micro_usd, cost.price.as_str()),
            (300, "prices.toml: gpt-5*")
        );
        assert!(prices.cost(Some("o3"), None, &usage).is_some());
        for broken in [
            "[[price]]\nmodel = \"x\"\ninput = -1\noutput = 0",
            "[[price]]\nmodel = \"x\"\ninput = nan\noutput = 0",
            "[[price]]\nmodel = \"x\"\ninputs = 1\noutput = 0",
        ] {
            assert!(Prices::with_own(broken).is_err(), "{broken}");
        }
    }

    /// So that no entry hides another.
    #[test]
    fn every_entry_can_be_met() {
        let prices = Prices::built_in();
        for price in &prices.0[0].prices {
            let model = price.model.replace('*', "");
            let met = prices.0[0]
                .prices
                .iter()
                .find(|it| matches(&it.model, &model));
            assert_eq!(met.map(|it| &it.model), Some(&price.model));
        }
    }

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, is) in [
            ("a*", "a", true),
            ("a*", "ab", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acb", false),
            ("ab*b", "ab", false),
            ("*x*", "axb", true),
            ("a", "ab", false),
            ("*", "", true),
        ] {
            assert_eq!(is_like(pattern, text), is, "{pattern} {text}");
        }
    }
}
