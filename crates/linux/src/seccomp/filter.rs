//! Compiles refusals to one BPF program.
//!
//! ```text
//!   architecture is not ours -> kill the process
//!   number > last reviewed   -> ENOSYS      (x32 calls too: they carry bit 30)
//!   number == A: conditions of A -> errno, else allow
//!   number == B: conditions of B -> errno, else ask the listener
//!   number == C: ...
//!   allow
//! ```
//!
//! A call of another architecture (int 0x80) kills: such a program could not even exit with every
//! call refused, and SIGSYS says what happened. Calls without conditions cost nothing at run time,
//! since the kernel remembers that they are always allowed; those with conditions come first.

use libc::sock_filter;

use super::bpf::{Field, Program, answer, if_any_bit, if_equal, if_greater, jump, load, mask};
use super::table::{Condition, Denial, LAST_REVIEWED, Test};

/// `AUDIT_ARCH_*`: the ELF machine, 64 bit, little endian.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 62 | 0x8000_0000 | 0x4000_0000;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 183 | 0x8000_0000 | 0x4000_0000;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const ASK: u32 = libc::SECCOMP_RET_USER_NOTIF;

/// `asked_about` are the calls that the listener decides on, unless they are refused.
pub(super) fn compile<'a>(
    denials: impl Iterator<Item = &'a Denial>,
    asked_about: &[u32],
) -> Program {
    let mut program = vec![
        load(Field::Architecture),
        if_equal(ARCHITECTURE, 1, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load(Field::CallNumber),
        if_greater(LAST_REVIEWED, 0, 1),
        refuse(libc::ENOSYS),
    ];
    for (number, denials) in by_call(denials, asked_about) {
        let mut block = Program::new();
        for denial in denials {
            block.extend(refusal(denial));
        }
        block.push(answer(if asked_about.contains(&number) {
            ASK
        } else {
            ALLOW
        }));
        let over = u32::try_from(block.len()).unwrap_or(u32::MAX);
        program.extend([if_equal(number, 1, 0), jump(over)]);
        program.extend(block);
    }
    program.push(answer(ALLOW));
    program
}

/// Groups by call number, those with conditions first.
fn by_call<'a>(
    denials: impl Iterator<Item = &'a Denial>,
    asked_about: &[u32],
) -> Vec<(u32, Vec<&'a Denial>)> {
    let mut groups: Vec<(u32, Vec<&Denial>)> = Vec::new();
    groups.extend(asked_about.iter().map(|number| (*number, Vec::new())));
    for denial in denials {
        match groups
            .iter_mut()
            .find(|(number, _)| *number == denial.number)
        {
            Some((_, group)) => group.push(denial),
            None => groups.push((denial.number, vec![denial])),
        }
    }
    groups.sort_by_key(|(_, group)| group.iter().all(|denial| denial.conditions.is_empty()));
    groups
}

/// Refuses if every condition holds, else falls through.
fn refusal(denial: &Denial) -> Program {
    let mut rest = vec![refuse(denial.errno)];
    for condition in denial.conditions.iter().rev() {
        let mut whole = unless_holds(condition, rest.len());
        whole.extend(rest);
        rest = whole;
    }
    rest
}

/// Skips the next `over` instructions unless `condition` holds.
fn unless_holds(condition: &Condition, over: usize) -> Program {
    let mut program = vec![load(Field::ArgumentLow(condition.argument))];
    let over = u8::try_from(over).expect("a refusal is a handful of instructions");
    match condition.test {
        Test::AnyBit(bits) => program.push(if_any_bit(bits, 0, over)),
        Test::OneOf { mask: bits, values } => {
            program.push(mask(bits));
            program.extend(matches(values, 0, over));
        }
        Test::NoneOf { mask: bits, values } => {
            program.push(mask(bits));
            program.extend(matches(values, over, 0));
        }
    }
    program
}

/// Compares with each value; `hit` and `miss` count from the end of the comparisons.
fn matches(values: &[u32], hit: u8, miss: u8) -> impl Iterator<Item = sock_filter> {
    let last = values.len() - 1;
    values.iter().enumerate().map(move |(index, value)| {
        let after = u8::try_from(last - index).expect("a list of values is short");
        let otherwise = if index == last { miss } else { 0 };
        if_equal(*value, after + hit, otherwise)
    })
}

fn refuse(errno: i32) -> sock_filter {
    answer(libc::SECCOMP_RET_ERRNO | errno.cast_unsigned())
}
