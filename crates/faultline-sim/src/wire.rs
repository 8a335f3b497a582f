//! The server's half of the PostgreSQL protocol, version 3.0, as far as the driver uses it: start-up without a password, the
//! extended query protocol with binary values, and the simple protocol for one command.
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use crate::statement::Shape;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use postgres_types::{IsNull, ToSql};
use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};

/// Longer messages than this are a mistake of the reader.
const MAX_MESSAGE: usize = 1 << 24;

/// What a client says.
#[derive(Debug)]
pub(crate) enum Request {
    Parse { name: String, sql: String },
    Bind { portal: String, statement: String, values: Vec<Option<Bytes>> },
    Describe { is_portal: bool, name: String },
    Execute { portal: String },
    Close { is_portal: bool, name: String },
    Sync,
    Query { sql: String },
    Terminate,
}

/// Takes the start-up message from what has arrived: the parameters of the session. `None` until it is whole.
pub(crate) fn next_startup(arrived: &mut BytesMut) -> Result<Option<HashMap<String, String>>> {
    let Some(mut body) = next_body(arrived, 0)? else { return Ok(None) };
    let _protocol = body.try_get_i32().map_err(short)?;
    let mut parameters = HashMap::new();
    while body.first().is_some_and(|byte| *byte != 0) {
        parameters.insert(text(&mut body)?, text(&mut body)?);
    }
    Ok(Some(parameters))
}

/// Takes the next message from what has arrived; `None` until it is whole.
pub(crate) fn next(arrived: &mut BytesMut) -> Result<Option<Request>> {
    let Some(tag) = arrived.first().copied() else { return Ok(None) };
    let Some(mut body) = next_body(arrived, 1)? else { return Ok(None) };
    let body = &mut body;
    Ok(Some(match tag {
        b'P' => Request::Parse { name: text(body)?, sql: text(body)? },
        b'B' => Request::Bind { portal: text(body)?, statement: text(body)?, values: values(body)? },
        b'D' => Request::Describe { is_portal: is_portal(body)?, name: text(body)? },
        b'E' => Request::Execute { portal: text(body)? },
        b'C' => Request::Close { is_portal: is_portal(body)?, name: text(body)? },
        b'S' => Request::Sync,
        b'Q' => Request::Query { sql: text(body)? },
        b'X' => Request::Terminate,
        other => return Err(Error::new(ErrorKind::InvalidData, format!("message {:?}", char::from(other)))),
    }))
}

fn next_body(arrived: &mut BytesMut, before: usize) -> Result<Option<Bytes>> {
    let Some(length) = arrived.get(before..before + 4) else { return Ok(None) };
    let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
    let length = usize::try_from(length).ok().filter(|length| (4..MAX_MESSAGE).contains(length));
    let length = length.ok_or_else(|| Error::new(ErrorKind::InvalidData, "a message of no possible length"))?;
    if arrived.len() < before + length {
        return Ok(None);
    }
    arrived.advance(before + 4);
    Ok(Some(arrived.split_to(length - 4).freeze()))
}

fn short(_: bytes::TryGetError) -> Error {
    Error::new(ErrorKind::InvalidData, "a message that is too short")
}

fn text(body: &mut Bytes) -> Result<String> {
    let end = body.iter().position(|byte| *byte == 0).ok_or_else(|| Error::new(ErrorKind::InvalidData, "no end"))?;
    let text = body.split_to(end);
    body.advance(1);
    String::from_utf8(text.into()).map_err(|error| Error::new(ErrorKind::InvalidData, error))
}

fn is_portal(body: &mut Bytes) -> Result<bool> {
    Ok(body.try_get_u8().map_err(short)? == b'P')
}

fn values(body: &mut Bytes) -> Result<Vec<Option<Bytes>>> {
    for _ in 0..body.try_get_i16().map_err(short)? {
        body.try_get_i16().map_err(short)?;
    }
    (0..body.try_get_i16().map_err(short)?)
        .map(|_| {
            let length = body.try_get_i32().map_err(short)?;
            let Ok(length) = usize::try_from(length) else { return Ok(None) };
            if body.len() < length {
                return Err(Error::new(ErrorKind::InvalidData, "a value that is too short"));
            }
            Ok(Some(body.split_to(length)))
        })
        .collect()
}

/// What the server says, gathered until the client asks for it.
#[derive(Default)]
pub(crate) struct Answer(BytesMut);

/// One row, its values encoded.
pub(crate) type Row = BytesMut;

impl Answer {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self) -> BytesMut {
        self.0.split()
    }

    fn message(&mut self, tag: u8, fill: impl FnOnce(&mut BytesMut)) {
        self.0.put_u8(tag);
        let at = self.0.len();
        self.0.put_i32(0);
        fill(&mut self.0);
        let length = i32::try_from(self.0.len() - at).expect("messages are small");
        self.0[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }

    pub(crate) fn welcome(&mut self, pid: i32) {
        self.message(b'R', |body| body.put_i32(0));
        self.message(b'K', |body| {
            body.put_i32(pid);
            body.put_i32(0);
        });
        self.ready();
    }

    pub(crate) fn ready(&mut self) {
        self.message(b'Z', |body| body.put_u8(b'I'));
    }

    pub(crate) fn parsed(&mut self) {
        self.message(b'1', |_| {});
    }

    pub(crate) fn bound(&mut self) {
        self.message(b'2', |_| {});
    }

    pub(crate) fn closed(&mut self) {
        self.message(b'3', |_| {});
    }

    pub(crate) fn parameters(&mut self, shape: &Shape) {
        self.message(b't', |body| {
            body.put_i16(count(shape.parameters.len()));
            shape.parameters.iter().for_each(|kind| body.put_u32(kind.oid()));
        });
    }

    pub(crate) fn columns(&mut self, shape: &Shape) {
        if shape.columns.is_empty() {
            return self.message(b'n', |_| {});
        }
        self.message(b'T', |body| {
            body.put_i16(count(shape.columns.len()));
            for (name, kind) in shape.columns {
                body.put_slice(name.as_bytes());
                body.put_u8(0);
                body.put_i32(0);
                body.put_i16(0);
                body.put_u32(kind.oid());
                body.put_i16(-1);
                body.put_i32(-1);
                body.put_i16(1);
            }
        });
    }

    pub(crate) fn rows(&mut self, rows: Vec<Row>) {
        let command = format!("SELECT {}", rows.len());
        for row in rows {
            self.message(b'D', |body| body.unsplit(row));
        }
        self.done(&command);
    }

    pub(crate) fn done(&mut self, command: &str) {
        self.message(b'C', |body| {
            body.put_slice(command.as_bytes());
            body.put_u8(0);
        });
    }

    pub(crate) fn error(&mut self, code: &str, text: &str) {
        self.message(b'E', |body| {
            for (field, value) in [(b'S', "ERROR"), (b'C', code), (b'M', text)] {
                body.put_u8(field);
                body.put_slice(value.as_bytes());
                body.put_u8(0);
            }
            body.put_u8(0);
        });
    }

    pub(crate) fn notification(&mut self, channel: &str, payload: &str) {
        self.message(b'A', |body| {
            body.put_i32(0);
            for text in [channel, payload] {
                body.put_slice(text.as_bytes());
                body.put_u8(0);
            }
        });
    }
}

/// Encodes one row of a statement.
pub(crate) fn row(shape: &Shape, values: &[&dyn ToSql]) -> Row {
    assert_eq!(values.len(), shape.columns.len(), "{}", shape.sql);
    let mut row = BytesMut::new();
    row.put_i16(count(values.len()));
    for (value, (name, kind)) in values.iter().zip(shape.columns) {
        let at = row.len();
        row.put_i32(-1);
        match value.to_sql_checked(kind, &mut row) {
            Ok(IsNull::Yes) => {}
            Ok(IsNull::No) => {
                let length = i32::try_from(row.len() - at - 4).expect("values are small");
                row[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
            Err(error) => panic!("column {name}: {error}"),
        }
    }
    row
}

fn count(length: usize) -> i16 {
    i16::try_from(length).expect("a statement has few parameters and columns")
}
