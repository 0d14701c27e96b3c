"""Statements that reach outside the served database, change it, or stop the engine.

`{canary}` is a file that must never be read, `{loot}` a path that must never be written, `{port}`
a TCP port of this machine that must never be connected to.
"""

READS_FILES = r"""
SELECT file('{canary}')
SELECT * FROM file('{canary}', 'LineAsString')
SELECT * FROM `file`('{canary}', 'LineAsString')
SELECT * FROM FILE('{canary}', LineAsString)
SELECT * FROM view(SELECT file('{canary}'))
WITH a AS (SELECT file('{canary}') AS b) SELECT * FROM a
WITH file('{canary}') AS x SELECT x
SELECT arrayMap(x -> file('{canary}'), [1])
SELECT * APPLY(x -> file('{canary}')) FROM numbers(1)
SELECT * APPLY(file) FROM (SELECT '{canary}')
SELECT * REPLACE(file('{canary}') AS number) FROM numbers(1)
SELECT 1 WHERE (SELECT file('{canary}')) != ''
SELECT 1 ORDER BY file('{canary}')
SELECT number FROM numbers(1) GROUP BY number, file('{canary}') HAVING file('{canary}') != ''
SELECT count() FROM numbers(3) LIMIT length(file('{canary}'))
SELECT sum(1) OVER (ORDER BY file('{canary}')) FROM numbers(1)
SELECT sum(1) OVER w FROM numbers(1) WINDOW w AS (PARTITION BY file('{canary}'))
SELECT 1 FROM numbers(1) AS a JOIN numbers(1) AS b ON a.number = b.number AND file('{canary}') != ''
SELECT 1 FROM numbers(1) ARRAY JOIN [file('{canary}')] AS x
SELECT 1 UNION ALL SELECT length(file('{canary}'))
SELECT exists(SELECT * FROM file('{canary}', LineAsString))
SELECT 'x' IN (SELECT * FROM file('{canary}', LineAsString))
SELECT CASE WHEN 1 THEN file('{canary}') END
SELECT * FROM values('a String', file('{canary}'))
SELECT * FROM numbers(length(file('{canary}')))
EXPLAIN SELECT file('{canary}')
EXPLAIN QUERY TREE SELECT file('{canary}')
EXPLAIN SYNTAX SELECT * FROM file('{canary}', LineAsString)
DESCRIBE file('{canary}')
DESCRIBE TABLE file('{canary}', CSV)
DESCRIBE (SELECT file('{canary}'))
EXISTS TABLE file('{canary}')
SHOW TABLES WHERE name = file('{canary}')
SHOW COLUMNS FROM processes WHERE field = file('{canary}')
SELECT * FROM default.`{canary}`
SELECT * FROM `{canary}`
SELECT * FROM "{canary}"
SELECT * FROM tenwatch.`{canary}`
SELECT * FROM `default.{canary}`
DESCRIBE default.`{canary}`
DESCRIBE `{canary}`
SELECT 'x' IN default.`{canary}`
SELECT 'x' IN `{canary}`
SELECT * FROM fileCluster('c', '{canary}', LineAsString)
SELECT * FROM filesystem('{canary}')
SELECT * FROM sqlite('{canary}', 't')
SELECT * FROM deltaLakeLocal('{canary}')
SELECT * FROM icebergLocal('{canary}')
SELECT * FROM executable('cat {canary}', 'LineAsString', 'a String')
SELECT * FROM loop(file('{canary}', LineAsString)) LIMIT 1
SELECT * FROM format(LineAsString, file('{canary}'))
SELECT catboostEvaluate('{canary}', 1)
SELECT regionToName(1)
SELECT dictGet('{canary}', 'a', 1)
SELECT * FROM dictionary('{canary}')
SELECT joinGet('x', 'y', 1)
SELECT showCertificate()
SELECT filesystemAvailable()
SELECT getServerSetting('path')
SELECT getMacro('x')
SELECT addressToLine(1)
SELECT * FROM system.settings SETTINGS format_schema = '{canary}'
SELECT 1 FORMAT Template SETTINGS format_template_resultset = '{canary}'
SELECT 1 FORMAT Protobuf SETTINGS format_schema = '{canary}:x'
"""

REACHES_OUT = r"""
SELECT * FROM url('http://127.0.0.1:{port}/', 'LineAsString')
SELECT * FROM urlCluster('c', 'http://127.0.0.1:{port}/', 'LineAsString')
SELECT * FROM remote('127.0.0.1:{port}', system, one)
SELECT * FROM remoteSecure('127.0.0.1:{port}', system, one)
SELECT * FROM cluster('default', system.one)
SELECT * FROM clusterAllReplicas('default', system.one)
SELECT * FROM s3('http://127.0.0.1:{port}/b/k', 'LineAsString')
SELECT * FROM gcs('http://127.0.0.1:{port}/b/k', 'LineAsString')
SELECT * FROM azureBlobStorage('http://127.0.0.1:{port}', 'c', 'b')
SELECT * FROM hdfs('hdfs://127.0.0.1:{port}/x', 'TSV', 'a String')
SELECT * FROM mysql('127.0.0.1:{port}', 'd', 't', 'u', 'p')
SELECT * FROM postgresql('127.0.0.1:{port}', 'd', 't', 'u', 'p')
SELECT * FROM mongodb('127.0.0.1:{port}', 'd', 'c', 'u', 'p', 'a String')
SELECT * FROM redis('127.0.0.1:{port}', 'k', 'k String')
SELECT * FROM odbc('DSN=x', 't')
SELECT * FROM jdbc('x', 't')
SELECT * FROM iceberg('http://127.0.0.1:{port}/b')
SELECT * FROM python(x)
SELECT * FROM Python(__builtins__)
SELECT * FROM Python('os')
SELECT * FROM arrowstream(x)
SELECT * FROM merge('system', 'users')
SELECT * FROM eval('SELECT 1')
SELECT * FROM viewIfPermitted(SELECT 1 ELSE null('a UInt8'))
SELECT * FROM input('a String')
SELECT * FROM generateRandom('a String') LIMIT 1
SELECT * FROM mergeTreeIndex('tenwatch', 'process_events')
SELECT hasColumnInTable('127.0.0.1:{port}', 'u', 'p', 'd', 't', 'c')
SELECT aiGenerate('x')
SELECT reverseDNSQuery('127.0.0.1')
SELECT sleep(3)
SELECT sleepEachRow(1) FROM numbers(3)
SELECT getClientHTTPHeader('Authorization')
"""

OTHER_TABLES = r"""
SELECT * FROM default.other
SELECT * FROM `default`.`other`
SELECT * FROM "default".other
SELECT default.other.secret FROM default.other
SELECT * FROM processes, default.other
SELECT 'x' IN default.other
SELECT 'x' IN (default.other)
SELECT in('x', default.other)
SELECT globalIn('x', default.other)
SELECT notIn('x', default.other)
SELECT count() FROM processes AS default WHERE comm IN default.other
DESCRIBE default.other
EXISTS default.other
SHOW CREATE TABLE default.other
SHOW TABLES FROM default
SHOW COLUMNS FROM other FROM default
SELECT * FROM system.users
SELECT * FROM system.processes
SELECT * FROM system.query_log
SELECT * FROM system.server_settings
SELECT * FROM system.named_collections
SELECT * FROM system.disks
SELECT * FROM system.parts
SELECT * FROM system.stack_trace
SELECT * FROM system.certificates
SELECT 1 IN system.users
SHOW CREATE TABLE system.users
SHOW GRANTS
SHOW PROCESSLIST
SHOW USERS
SHOW ACCESS
SHOW CLUSTERS
SHOW SETTINGS PROFILES
"""

WRITES = r"""
SELECT 1 INTO OUTFILE '{loot}'
SELECT 1 INTO OUTFILE '{loot}' TRUNCATE FORMAT CSV
SELECT 1 INTO OUTFILE '{loot}' APPEND
SELECT 1 INTO OUTFILE '{loot}' AND STDOUT
SELECT 1 INTO OUTFILE '{loot}' COMPRESSION 'gzip'
select 1 into/**/outfile '{loot}'
SHOW TABLES INTO OUTFILE '{loot}'
DESCRIBE processes INTO OUTFILE '{loot}'
EXPLAIN SELECT 1 INTO OUTFILE '{loot}'
(SELECT 1) INTO OUTFILE '{loot}'
SELECT 1 SETTINGS output_format_schema = '{loot}'
INSERT INTO FUNCTION file('{loot}', 'CSV') SELECT 1
INSERT INTO FUNCTION url('http://127.0.0.1:{port}/', 'CSV') SELECT 1
INSERT INTO FUNCTION remote('127.0.0.1:{port}', system, one) SELECT 1
INSERT INTO process_events (pid) VALUES (1)
INSERT INTO process_events (pid) SELECT 1
INSERT INTO process_events FORMAT JSONEachRow {{"pid":1}}
INSERT INTO process_events FROM INFILE '{canary}' FORMAT CSV
insert/**/into process_events (pid) select 1
EXPLAIN SYNTAX INSERT INTO process_events (pid) SELECT 1
CREATE TABLE evil (a UInt8) ENGINE = Memory
CREATE TABLE tenwatch.evil ENGINE = MergeTree ORDER BY a AS SELECT 1 AS a
CREATE TEMPORARY TABLE evil (a UInt8)
CREATE VIEW evil AS SELECT 1
CREATE DATABASE evil
CREATE FUNCTION evil AS x -> x
CREATE USER evil
CREATE DICTIONARY evil (a UInt8) PRIMARY KEY a SOURCE(FILE(PATH '{canary}')) LAYOUT(FLAT())
CREATE NAMED COLLECTION evil AS a = 1
ATTACH TABLE process_events
DETACH TABLE process_events
DROP TABLE process_events
DROP VIEW processes
DROP DATABASE tenwatch
TRUNCATE TABLE process_events
ALTER TABLE process_events DELETE WHERE 1
ALTER TABLE process_events DROP COLUMN pid
DELETE FROM process_events WHERE 1
UPDATE process_events SET pid = 1 WHERE 1
RENAME TABLE process_events TO evil
EXCHANGE TABLES process_events AND snapshot_events
OPTIMIZE TABLE process_events FINAL
CHECK TABLE process_events
BACKUP TABLE process_events TO File('{loot}')
RESTORE TABLE process_events FROM File('{loot}')
UNDROP TABLE process_events
GRANT ALL ON *.* TO reader
REVOKE ALL ON *.* FROM reader
"""

CONTROLS = r"""
KILL QUERY WHERE 1
KILL QUERY WHERE 1 SYNC
kill mutation where 1
SYSTEM SHUTDOWN
SYSTEM KILL
SYSTEM RELOAD CONFIG
SYSTEM FLUSH LOGS
SYSTEM DROP MARK CACHE
SYSTEM STOP MERGES
SYSTEM STOP MERGES process_events
SET readonly = 0
SET max_memory_usage = 0
SET ROLE ALL
USE system
BEGIN TRANSACTION
EXECUTE AS admin SELECT 1
PREPARE a AS SELECT 1
EXPLAIN CURRENT TRANSACTION
EXPLAIN ANALYZE SELECT 1
WATCH LIVE
SELECT 1; SELECT 2
SELECT 1; DROP TABLE process_events
SELECT 1;;DROP TABLE process_events
SELECT 1;/**/DROP TABLE process_events
SELECT 1 -- \n; DROP TABLE process_events
SELECT 1 PARALLEL WITH DROP TABLE process_events
DROP TABLE process_events PARALLEL WITH SELECT 1
SELECT 1 SETTINGS readonly = 0
SELECT 1 SETTINGS allow_ddl = 1
SELECT 1 SETTINGS max_query_size = 0
SELECT 1 SETTINGS allow_introspection_functions = 1
SELECT 1 SETTINGS log_queries = 0, max_parser_depth = 0
SELECT * FROM (SELECT 1 SETTINGS max_parser_depth = 0)
SELECT 1 SETTINGS max_threads = {{x:UInt8}}
SELECT 1 SETTINGS max_threads = DEFAULT
"""

# What answers to a refused statement: syntax, readonly, access, setting, format, not served, and
# what the engine says where a name does not even parse as the attack meant it.
REFUSALS = {36, 46, 47, 60, 62, 73, 81, 115, 164, 344, 452, 456, 497}


def statements(text: str, **values: object) -> list[str]:
    """The statements of one of the lists above, with their marks filled in."""
    lines = [line for line in text.splitlines() if line]
    return [line.format(**values).replace("\\n", "\n") for line in lines]
