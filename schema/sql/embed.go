// Package migrations holds the SQL of the stores, one folder per kind of
// server, applied in the order of the names. A file that has once been
// published never changes: a change is a new file. processor/sink/sql runs them.
package migrations

import "embed"

// Files are mysql/*.sql (MySQL and MariaDB) and sqlite/*.sql. A statement ends
// with a semicolon at the end of a line. MySQL commits after each statement of
// DDL, so each of them must be one that may run twice.
//
//go:embed mysql/*.sql sqlite/*.sql
var Files embed.FS
