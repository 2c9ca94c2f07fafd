//! Records as Parquet: the columns of [`super::rows`], each nullable; texts (UTF-8) through dictionaries,
//! whole numbers as INT64, floats as DOUBLE, in which NaN is NaN, pages compressed by Snappy.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use super::rows::{Kind, RowValue, columns};
use super::run::Run;

/// Rows of a row group, of which one is in memory at a time. Readers take groups in parallel.
const GROUP: usize = 1 << 16;

/// Writes the records of `run`. Equal runs give equal bytes.
///
/// # Errors
/// Those of `out`.
pub fn write(run: &Run, out: &mut (dyn Write + Send)) -> io::Result<()> {
    write_groups(run, out, GROUP).map_err(|error| match error {
        // What the disk said, for who tells a full one from another.
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(source) => io::Error::other(source),
        },
        error => io::Error::other(error),
    })
}

fn write_groups(
    run: &Run,
    out: &mut (dyn Write + Send),
    group: usize,
) -> parquet::errors::Result<()> {
    let properties = WriterProperties::builder()
        .set_created_by(concat!("flipside version ", env!("CARGO_PKG_VERSION")).into())
        .set_compression(Compression::SNAPPY)
        .build();
    let mut writer = SerializedFileWriter::new(out, schema(run)?, Arc::new(properties))?;
    let wanted = columns(&run.manifest.plan);
    let mut rows = run.rows().peekable();
    while rows.peek().is_some() {
        let mut columns: Vec<ColumnBuffer> =
            wanted.iter().map(|(_, kind, _)| ColumnBuffer::new(*kind)).collect();
        for row in rows.by_ref().take(group) {
            for (column, (_, _, cell)) in columns.iter_mut().zip(&wanted) {
                column.push(cell(&row))?;
            }
        }
        let mut group = writer.next_row_group()?;
        for column in &columns {
            column.write(&mut group)?;
        }
        group.close()?;
    }
    writer.close()?;
    Ok(())
}

fn schema(run: &Run) -> parquet::errors::Result<TypePtr> {
    let field = |(name, kind): (&str, Kind)| {
        let (physical, logical) = match kind {
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Int => (Physical::INT64, None),
            Kind::Float => (Physical::DOUBLE, None),
            Kind::Bool => (Physical::BOOLEAN, None),
        };
        let field = Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical);
        field.build().map(Arc::new)
    };
    let columns = columns(&run.manifest.plan);
    let fields = columns.iter().map(|(name, kind, _)| field((name, *kind)));
    let fields = fields.collect::<Result<_, _>>()?;
    Type::group_type_builder("record").with_fields(fields).build().map(Arc::new)
}

/// A column of a row group.
struct ColumnBuffer {
    /// Of the rows that have one.
    values: ColumnValues,
    /// A row: 1 where it has a value, else 0. Parquet's definition levels.
    levels: Vec<i16>,
}

enum ColumnValues {
    Text(Vec<ByteArray>),
    Int(Vec<i64>),
    Float(Vec<f64>),
    Bool(Vec<bool>),
}

impl ColumnBuffer {
    fn new(kind: Kind) -> ColumnBuffer {
        let values = match kind {
            Kind::Text => ColumnValues::Text(Vec::new()),
            Kind::Int => ColumnValues::Int(Vec::new()),
            Kind::Float => ColumnValues::Float(Vec::new()),
            Kind::Bool => ColumnValues::Bool(Vec::new()),
        };
        ColumnBuffer { values, levels: Vec::new() }
    }

    fn push(&mut self, cell: RowValue) -> parquet::errors::Result<()> {
        self.levels.push(i16::from(cell != RowValue::None));
        match (&mut self.values, cell) {
            (_, RowValue::None) => {}
            (ColumnValues::Text(values), RowValue::Text(text)) => {
                values.push(ByteArray::from(text.into_bytes()))
            }
            (ColumnValues::Int(values), RowValue::Int(value)) => values.push(value as i64),
            (ColumnValues::Float(values), RowValue::Float(value)) => values.push(value),
            (ColumnValues::Bool(values), RowValue::Bool(value)) => values.push(value),
            (_, cell) => {
                return Err(ParquetError::General(format!("{cell:?} is of another kind")));
            }
        }
        Ok(())
    }

    fn write<W: Write + Send>(
        &self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> parquet::errors::Result<()> {
        match &self.values {
            ColumnValues::Text(values) => self.write_as::<ByteArrayType, W>(group, values),
            ColumnValues::Int(values) => self.write_as::<Int64Type, W>(group, values),
            ColumnValues::Float(values) => self.write_as::<DoubleType, W>(group, values),
            ColumnValues::Bool(values) => self.write_as::<BoolType, W>(group, values),
        }
    }

    fn write_as<T: DataType, W: Write + Send>(
        &self,
        group: &mut SerializedRowGroupWriter<'_, W>,
        values: &[T::T],
    ) -> parquet::errors::Result<()> {
        let Some(mut writer) = group.next_column()? else {
            return Err(ParquetError::General("more columns than the schema has".into()));
        };
        writer.typed::<T>().write_batch(values, Some(&self.levels), None)?;
        writer.close()
    }
}
