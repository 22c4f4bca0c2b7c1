// Jdbc.java: what a BI tool does over JDBC, for test/tap/400_drivers.pl. Built and run by the test.
//
//   Jdbc URL tables SCHEMA            each relation: schema, name, type, remark
//   Jdbc URL columns SCHEMA TABLE     each column: name, java.sql.Types number, type name, remark
//   Jdbc URL query SQL                a line "name:type name:class" for each column, then the rows as objects; NULL is \N
//
// Several commands may follow each other, separated by the argument --; a line -- then separates what they print. Fields are
// separated by tabs. User and password come from the environment (BI_USER, BI_PASSWORD).
import java.io.PrintStream;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.OffsetDateTime;

class Jdbc {
	static PrintStream out;

	static void print(ResultSet rows, String... columns) throws SQLException {
		while (rows.next()) {
			for (int i = 0; i < columns.length; i++)
				out.print((i > 0 ? "\t" : "") + (rows.getString(columns[i]) == null ? "\\N" : rows.getString(columns[i])));
			out.println();
		}
	}

	// a time as java.time has it, anything else as the driver's own class
	static String field(ResultSet rows, ResultSetMetaData meta, int i) throws SQLException {
		Object value = meta.getColumnTypeName(i).equals("timestamptz") ? rows.getObject(i, OffsetDateTime.class) : rows.getObject(i);
		return value == null ? "\\N" : value.toString();
	}

	static void query(Connection db, String sql) throws SQLException {
		try (Statement s = db.createStatement(); ResultSet rows = s.executeQuery(sql)) {
			ResultSetMetaData meta = rows.getMetaData();
			int n = meta.getColumnCount();
			for (int i = 1; i <= n; i++)
				out.print((i > 1 ? "\t" : "") + meta.getColumnLabel(i) + ":" + meta.getColumnTypeName(i) + ":" + meta.getColumnClassName(i));
			out.println();
			while (rows.next()) {
				for (int i = 1; i <= n; i++) out.print((i > 1 ? "\t" : "") + field(rows, meta, i));
				out.println();
			}
		}
	}

	public static void main(String[] args) throws Exception {
		out = new PrintStream(System.out, true, "UTF-8");
		try (Connection db = DriverManager.getConnection(args[0], System.getenv("BI_USER"), System.getenv("BI_PASSWORD"))) {
			for (int a = 1; a < args.length; a++) {
				if (a > 1) out.println("--");
				try {
					switch (args[a]) {
						case "tables" -> print(db.getMetaData().getTables(null, args[++a], "%", null),
							"TABLE_SCHEM", "TABLE_NAME", "TABLE_TYPE", "REMARKS");
						case "columns" -> {
							print(db.getMetaData().getColumns(null, args[a + 1], args[a + 2], "%"), "COLUMN_NAME", "DATA_TYPE", "TYPE_NAME", "REMARKS");
							a += 2;
						}
						default -> query(db, args[++a]);
					}
				} catch (SQLException e) {
					out.println("error " + e.getSQLState() + " " + e.getMessage());
				}
				a++;
			}
		}
	}
}
