//! Layers upon layers: what a nearer document says wins over what a farther one says.
//!
//! | what | both say something |
//! |---|---|
//! | `workspace`, `nested`, `record`, each limit, each variable, each credential | the nearer wins |
//! | rules | the nearer first |
//! | `presets`, `visible`, `cache`, `require` | all of them |
//!
//! So a row of layers may be put together from either end: `a.over(b).over(c)` is `a.over(b.over(c))`.

use std::collections::BTreeSet;

use super::convert::{Fragment, Located};
use crate::policy::Nested;
use crate::rule::Action;

impl Fragment {
    /// `self` is nearer than `below`.
    pub(crate) fn over(self, below: Self) -> Self {
        let Self {
            extends: _,
            mut presets,
            workspaces,
            mut limits,
            mut require,
            nested,
            mut visible,
            mut cache,
            record,
            mut rules,
            mut environment,
            mut credentials,
        } = self;
        for (kind, limit) in below.limits {
            limits.entry(kind).or_insert(limit);
        }
        add_new(&mut presets, below.presets, |preset| preset.clone());
        add_new(&mut require, below.require, |kind| *kind);
        add_new(&mut visible, below.visible, |path| path.clone());
        add_new(&mut cache, below.cache, |kind| *kind);
        add_new(&mut environment, below.environment, |it| it.name.clone());
        add_new(&mut credentials, below.credentials, |it| it.name.clone());
        rules.extend(below.rules);
        Self {
            extends: Vec::new(),
            presets,
            workspaces: workspaces.or(below.workspaces),
            limits,
            require,
            nested: nested.or(below.nested),
            visible,
            cache,
            record: record.or(below.record),
            rules,
            environment,
            credentials,
        }
    }

    /// `self` is nearer than `below`, but nobody vouches for it: of what it says, only what narrows counts.
    pub(crate) fn narrowing(self, mut below: Self) -> Self {
        let Self {
            extends: _,
            presets: _,
            workspaces: _,
            limits,
            require,
            nested,
            visible: _,
            cache: _,
            record: _,
            rules,
            environment: _,
            credentials: _,
        } = self;
        for (kind, limit) in limits {
            match below.limits.get(&kind) {
                Some(trusted) if trusted.value <= limit.value => {}
                _ => {
                    below.limits.insert(kind, limit);
                }
            }
        }
        add_new(&mut below.require, require, |kind| *kind);
        if let Some(nested) = nested.filter(|nested| nested.value == Nested::Refused) {
            below.nested = Some(nested);
        }
        let mut narrowed: Vec<_> = rules
            .into_iter()
            .filter(|rule| rule.value.action == Action::Deny)
            .collect();
        narrowed.append(&mut below.rules);
        below.rules = narrowed;
        below
    }
}

/// Those of `more` whose key is not there yet, behind what is there.
fn add_new<T, K: Ord>(list: &mut Vec<Located<T>>, more: Vec<Located<T>>, key: impl Fn(&T) -> K) {
    let mut known: BTreeSet<K> = list.iter().map(|it| key(&it.value)).collect();
    list.extend(more.into_iter().filter(|it| known.insert(key(&it.value))));
}
