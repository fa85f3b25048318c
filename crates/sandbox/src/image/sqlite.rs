//! New SQLite databases, as small as trust stores are: each table on one page, and its primary key's
//! index on another.
//!
//! Format: <https://www.sqlite.org/fileformat2.html>. What would not fit is refused, never cut.

const PAGE: usize = 4096;
/// Before the schema's table on the first page.
const FILE_HEADER: usize = 100;
const PAGE_HEADER: usize = 8;

/// A table whose first column is a `PRIMARY KEY`, in the order of which its rows are given.
#[derive(Debug)]
pub(super) struct Table<'a> {
    pub(super) name: &'a str,
    /// The `CREATE TABLE` statement.
    pub(super) sql: String,
    pub(super) rows: Vec<Vec<Value<'a>>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Null,
    /// None of ours is negative.
    Integer(u8),
    Text(&'a str),
    Blob(&'a [u8]),
}

/// Pages whose cells hold the records themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaf {
    Table,
    Index,
}

impl Leaf {
    fn kind(self) -> u8 {
        match self {
            Self::Table => 0x0d,
            Self::Index => 0x0a,
        }
    }

    /// A longer record would go on in an overflow page.
    fn longest_record(self) -> usize {
        match self {
            Self::Table => PAGE - 35,
            Self::Index => (PAGE - 12) * 64 / 255 - 23,
        }
    }
}

/// The whole file; `None` if something does not fit on its page.
pub(super) fn database(tables: &[Table<'_>]) -> Option<Vec<u8>> {
    let mut schema = Vec::new();
    let mut pages = Vec::new();
    for table in tables {
        let index = format!("sqlite_autoindex_{}_1", table.name);
        let root = u8::try_from(2 + pages.len()).ok()?;
        for (kind, name, root, sql) in [
            ("table", table.name, root, Value::Text(&table.sql)),
            ("index", &index, root + 1, Value::Null),
        ] {
            schema.push(record(&[
                Value::Text(kind),
                Value::Text(name),
                Value::Text(table.name),
                Value::Integer(root),
                sql,
            ]));
        }
        let rows: Vec<_> = table.rows.iter().map(|row| record(row)).collect();
        let keys = index_records(&table.rows)?;
        pages.push(page(Leaf::Table, 0, &rows)?);
        pages.push(page(Leaf::Index, 0, &keys)?);
    }
    let mut file = page(Leaf::Table, FILE_HEADER, &schema)?;
    file[..FILE_HEADER].copy_from_slice(&file_header(1 + pages.len())?);
    file.extend(pages.concat());
    Some(file)
}

fn file_header(pages: usize) -> Option<[u8; FILE_HEADER]> {
    const ROLLBACK_JOURNAL: u8 = 1;
    const CHANGES: u32 = 1;
    const SCHEMA_FORMAT: u32 = 4;
    const UTF_8: u32 = 1;
    /// 3.7.0, the first version that keeps the number of pages here.
    const WRITTEN_BY: u32 = 3_007_000;

    let mut header = [0; FILE_HEADER];
    header[..16].copy_from_slice(b"SQLite format 3\0");
    header[16..18].copy_from_slice(&u16::try_from(PAGE).ok()?.to_be_bytes());
    header[18..20].fill(ROLLBACK_JOURNAL);
    // Fractions of a page, fixed by the format.
    header[21..24].copy_from_slice(&[64, 32, 32]);
    for (offset, word) in [
        (24, CHANGES),
        (28, u32::try_from(pages).ok()?),
        (40, CHANGES),
        (44, SCHEMA_FORMAT),
        (56, UTF_8),
        (92, CHANGES),
        (96, WRITTEN_BY),
    ] {
        header[offset..offset + 4].copy_from_slice(&word.to_be_bytes());
    }
    Some(header)
}

/// Pointers grow from the front, cells from the back.
fn page(leaf: Leaf, start: usize, records: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut page = vec![0; PAGE];
    let mut pointer = start + PAGE_HEADER;
    let mut content = PAGE;
    for (index, record) in records.iter().enumerate() {
        if record.len() > leaf.longest_record() {
            return None;
        }
        let mut cell = varint(record.len());
        if leaf == Leaf::Table {
            cell.extend(varint(row_id(index)));
        }
        cell.extend(record);
        content = content
            .checked_sub(cell.len())
            .filter(|&content| content >= pointer + 2)?;
        page[content..content + cell.len()].copy_from_slice(&cell);
        page[pointer..pointer + 2].copy_from_slice(&u16::try_from(content).ok()?.to_be_bytes());
        pointer += 2;
    }
    page[start] = leaf.kind();
    for (offset, number) in [(3, records.len()), (5, content)] {
        page[start + offset..start + offset + 2]
            .copy_from_slice(&u16::try_from(number).ok()?.to_be_bytes());
    }
    Some(page)
}

/// Key and row id of each row.
fn index_records(rows: &[Vec<Value<'_>>]) -> Option<Vec<Vec<u8>>> {
    rows.iter()
        .enumerate()
        .map(|(index, row)| {
            let row_id = Value::Integer(u8::try_from(row_id(index)).ok()?);
            Some(record(&[*row.first()?, row_id]))
        })
        .collect()
}

fn row_id(index: usize) -> usize {
    index + 1
}

fn record(values: &[Value<'_>]) -> Vec<u8> {
    let mut types = Vec::new();
    let mut body = Vec::new();
    for value in values {
        let kind = match value {
            Value::Null => 0,
            Value::Integer(number) => {
                // 16 bits, since one signed byte ends at 127.
                body.extend(u16::from(*number).to_be_bytes());
                2
            }
            Value::Text(text) => {
                body.extend(text.as_bytes());
                13 + 2 * text.len()
            }
            Value::Blob(bytes) => {
                body.extend(*bytes);
                12 + 2 * bytes.len()
            }
        };
        types.extend(varint(kind));
    }
    // The header's length counts itself; two bytes of it are enough for any page.
    let own = if types.len() < 0x7f { 1 } else { 2 };
    [varint(types.len() + own), types, body].concat()
}

/// Seven bits a byte, the highest first.
fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let more = if bytes.is_empty() { 0 } else { 0x80 };
        bytes.push((number & 0x7f) as u8 | more);
        number >>= 7;
        if number == 0 {
            bytes.reverse();
            return bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// What Python's SQLite, which is the real one, makes of the file.
    fn read(file: &[u8]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        std::fs::write(&path, file).unwrap();
        let program = "import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
print(c.execute('pragma integrity_check').fetchall())
for (name,) in c.execute(\"select name from sqlite_master where type = 'table'\").fetchall():
    print(name, c.execute(f'select * from {name}').fetchall())
    c.execute(f'insert into {name} (id) values (99)')
    try: c.execute(f'insert into {name} (id) values (99)')
    except sqlite3.IntegrityError: print('unique')
    print(c.execute(f'select count(*) from {name} where id >= 2').fetchall())
c.commit()
print(c.execute('pragma integrity_check').fetchall())";
        let output = Command::new("/usr/bin/python3")
            .args(["-c", program])
            .arg(&path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn table<'a>(name: &'a str, rows: Vec<Vec<Value<'a>>>) -> Table<'a> {
        Table {
            name,
            sql: format!("CREATE TABLE {name} (id PRIMARY KEY UNIQUE, a, b)"),
            rows,
        }
    }

    #[test]
    fn sqlite_reads_checks_and_changes_it() {
        let rows = vec![
            vec![Value::Integer(1), Value::Text("one"), Value::Null],
            vec![
                Value::Integer(2),
                Value::Blob(&[0, 0xff]),
                Value::Integer(200),
            ],
        ];
        let file = database(&[table("filled", rows), table("empty", vec![])]).unwrap();
        assert_eq!(file.len(), 5 * PAGE);
        assert_eq!(
            read(&file),
            "[('ok',)]
filled [(1, 'one', None), (2, b'\\x00\\xff', 200)]
unique
[(2,)]
empty []
unique
[(1,)]
[('ok',)]
"
        );
    }

    #[test]
    fn rows_up_to_a_page_fit_and_no_more() {
        let sized = |length| {
            let blob = vec![7; length];
            let row = vec![Value::Integer(1), Value::Blob(&blob), Value::Null];
            database(&[table("t", vec![row])])
        };
        let largest = (0..PAGE).rfind(|&length| sized(length).is_some()).unwrap();
        assert!(largest > 4000, "{largest}");
        assert!(read(&sized(largest).unwrap()).starts_with("[('ok',)]\nt [(1, b'"));
        assert!(sized(largest + 1).is_none());
    }
}
