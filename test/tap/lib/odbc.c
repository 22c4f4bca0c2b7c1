/*
 * odbc.c: what a BI tool does over ODBC, for test/tap/400_drivers.pl. Built and run by the test.
 *
 *   odbc CONNECTION-STRING tables SCHEMA      each relation: schema, name, type, remark
 *   odbc CONNECTION-STRING columns SCHEMA TABLE   each column: name, SQL type number, type name, remark
 *   odbc CONNECTION-STRING query SQL          a line "name:SQL type number" for each column, then the rows; NULL is \N
 *
 * Fields are separated by tabs. An error goes to standard error as SQLSTATE and message; exit code 1.
 */
#include <locale.h>
#include <sql.h>
#include <sqlext.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static SQLHDBC dbc;
static SQLHSTMT stmt;

static void
check(SQLRETURN rc, SQLSMALLINT type, SQLHANDLE handle)
{
	SQLCHAR		state[6] = "",
				message[1000] = "";

	if (SQL_SUCCEEDED(rc) || rc == SQL_NO_DATA)
		return;
	SQLGetDiagRec(type, handle, 1, state, NULL, message, sizeof(message), NULL);
	fprintf(stderr, "%s %s\n", state, message);
	exit(1);
}

static SQLCHAR *
text(const char *s)
{
	return (SQLCHAR *) s;
}

/* The rows of the open result; of these columns only (ended by 0), or of all */
static void
print_rows(const int *only)
{
	SQLSMALLINT n;
	SQLRETURN	rc;

	check(SQLNumResultCols(stmt, &n), SQL_HANDLE_STMT, stmt);
	while ((rc = SQLFetch(stmt)) != SQL_NO_DATA)
	{
		check(rc, SQL_HANDLE_STMT, stmt);
		for (int i = 0; only ? only[i] : i < n; i++)
		{
			char		buf[8192];
			SQLLEN		len;

			check(SQLGetData(stmt, only ? only[i] : i + 1, SQL_C_CHAR, buf, sizeof(buf), &len), SQL_HANDLE_STMT, stmt);
			printf("%s%s", i ? "\t" : "", len == SQL_NULL_DATA ? "\\N" : buf);
		}
		putchar('\n');
	}
}

static void
query(const char *sql)
{
	SQLSMALLINT n;

	check(SQLExecDirect(stmt, text(sql), SQL_NTS), SQL_HANDLE_STMT, stmt);
	check(SQLNumResultCols(stmt, &n), SQL_HANDLE_STMT, stmt);
	for (int i = 1; i <= n; i++)
	{
		SQLCHAR		name[200];
		SQLSMALLINT len,
					type,
					scale,
					nullable;
		SQLULEN		size;

		check(SQLDescribeCol(stmt, i, name, sizeof(name), &len, &type, &size, &scale, &nullable), SQL_HANDLE_STMT, stmt);
		printf("%s%s:%d", i > 1 ? "\t" : "", name, type);
	}
	putchar('\n');
	print_rows(NULL);
}

int
main(int argc, char **argv)
{
	SQLHENV		env;

	if (argc < 4)
		return 2;
	setlocale(LC_ALL, "");
	SQLAllocHandle(SQL_HANDLE_ENV, SQL_NULL_HANDLE, &env);
	SQLSetEnvAttr(env, SQL_ATTR_ODBC_VERSION, (SQLPOINTER) SQL_OV_ODBC3, 0);
	SQLAllocHandle(SQL_HANDLE_DBC, env, &dbc);
	check(SQLDriverConnect(dbc, NULL, text(argv[1]), SQL_NTS, NULL, 0, NULL, SQL_DRIVER_NOPROMPT), SQL_HANDLE_DBC, dbc);
	SQLAllocHandle(SQL_HANDLE_STMT, dbc, &stmt);
	if (strcmp(argv[2], "tables") == 0)
	{
		check(SQLTables(stmt, NULL, 0, text(argv[3]), SQL_NTS, text("%"), SQL_NTS, NULL, 0), SQL_HANDLE_STMT, stmt);
		print_rows((const int[]) {2, 3, 4, 5, 0});
	}
	else if (strcmp(argv[2], "columns") == 0)
	{
		check(SQLColumns(stmt, NULL, 0, text(argv[3]), SQL_NTS, text(argv[4]), SQL_NTS, NULL, 0), SQL_HANDLE_STMT, stmt);
		print_rows((const int[]) {4, 5, 6, 12, 0});
	}
	else
		query(argv[3]);
	SQLDisconnect(dbc);
	return 0;
}
