//! The SQL types of parameters, for statements that are sent without being prepared: nobody asks the server for them.

use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio_postgres::types::{Json, ToSql, Type};
use uuid::Uuid;

/// A value that knows its SQL type.
pub(crate) trait Typed {
    const TYPE: Type;
}

/// A parameter of a statement.
pub(crate) trait Param: Sync {
    fn sql_type(&self) -> Type;
    fn as_sql(&self) -> &(dyn ToSql + Sync);
}

impl<T: Typed + ToSql + Sync> Param for T {
    fn sql_type(&self) -> Type {
        T::TYPE
    }

    fn as_sql(&self) -> &(dyn ToSql + Sync) {
        self
    }
}

impl<T: Typed> Typed for Option<T> {
    const TYPE: Type = T::TYPE;
}

macro_rules! types {
    ($($rust:ty => $one:ident, $many:ident;)*) => {$(
        impl Typed for $rust {
            const TYPE: Type = Type::$one;
        }

        impl Typed for Vec<$rust> {
            const TYPE: Type = Type::$many;
        }

        impl Typed for Vec<Option<$rust>> {
            const TYPE: Type = Type::$many;
        }

        impl Typed for &[$rust] {
            const TYPE: Type = Type::$many;
        }
    )*};
}

types! {
    bool => BOOL, BOOL_ARRAY;
    i16 => INT2, INT2_ARRAY;
    i32 => INT4, INT4_ARRAY;
    i64 => INT8, INT8_ARRAY;
    &str => TEXT, TEXT_ARRAY;
    String => TEXT, TEXT_ARRAY;
    Uuid => UUID, UUID_ARRAY;
    Timestamp => TIMESTAMPTZ, TIMESTAMPTZ_ARRAY;
    Json<&RawValue> => JSONB, JSONB_ARRAY;
}

impl Typed for &[u8] {
    const TYPE: Type = Type::BYTEA;
}
