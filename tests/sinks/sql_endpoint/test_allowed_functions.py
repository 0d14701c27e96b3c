"""The list of functions beside what the engine has: nothing new slips in, nothing is misspelt."""

import pytest

from sinks.sql_endpoint.allowed_functions import (
    AGGREGATE_FUNCTIONS,
    SCALAR_FUNCTIONS,
    is_allowed_function,
)
from tests.sinks.sql_endpoint.endpoint_process import EndpointProcess

# Reviewed and left out. A newer engine's functions are in neither list: read what each does, and
# put it into one of them.
LEFT_OUT_CATEGORIES = {
    "AI", "Dictionary", "Embedded Dictionary", "Internal", "Introspection", "Machine Learning",
}  # fmt: skip
TAKEN_IN = {"caseWithExpression"}  # what CASE x WHEN … is written as
LEFT_OUT = """
FQDN aggThrow authenticatedUser chdb connectionID connectionId connection_id
currentHandler currentProfiles currentRequestURL
defaultProfiles defaultRoles enabledProfiles enabledRoles file filesystemAvailable
filesystemCapacity filesystemUnreserved flameGraph formatQueryFromJSON formatRow formatRowNoNewline
fuzzQuery generateRandomStructure generateSerialID getClientHTTPHeader getMacro
getMaxTableNameLengthForDatabase getMergeTreeSetting getOSKernelVersion getServerPort
getServerSetting groupFormat hasColumnInTable hasThreadFuzzer highlightQuery icebergBucket
icebergTruncate joinGet joinGetOrNull obfuscateQuery obfuscateQueryWithSeed parseQueryToJSON
pgGetUserById pgTableIsVisible queryID serverUUID shardCount shardNum showCertificate sleep
sleepEachRow structureToCapnProtoSchema structureToProtobufSchema tcpPort timeSeriesCopyTag
timeSeriesCopyTags timeSeriesExtractTag timeSeriesGroupToSamplingKey timeSeriesGroupToTags
timeSeriesIdToGroup timeSeriesIdToTags timeSeriesJoinTags timeSeriesMetricTypeToSuffixes
timeSeriesPrometheusValueToString timeSeriesRemoveAllTagsExcept timeSeriesRemoveTag
timeSeriesRemoveTags timeSeriesReplaceTag timeSeriesStoreTags timeSeriesTagsToGroup
timeSeriesTagsToMap timeSeriesThrowDuplicateSeriesIf transactionID transactionLatestSnapshot
transactionOldestSnapshot zookeeperSessionUptime
"""


def test_every_function_of_the_engine_was_reviewed(endpoint: EndpointProcess) -> None:
    rows = endpoint.rows("SELECT name, alias_to, categories FROM system.functions")
    known = {name: (alias, category) for name, alias, category in rows}
    left_out = set(LEFT_OUT.split())
    unreviewed = []
    for name, (alias, _) in known.items():
        base = alias if alias in known else name
        refused = base in left_out or name in left_out or known[base][1] in LEFT_OUT_CATEGORIES
        if is_allowed_function(name) == (refused and base not in TAKEN_IN):
            unreviewed.append((name, base, known[base][1]))
    assert not unreviewed
    names = {name.lower() for name in known}
    written_by_the_parser = {"lambda", "grouping", "exists", "untuple"}
    assert (SCALAR_FUNCTIONS | AGGREGATE_FUNCTIONS) - names == written_by_the_parser


@pytest.mark.parametrize(
    "name",
    ["sum", "SUM", "sumIf", "uniqExactArrayIf", "quantilesTDigestMergeState", "toDateTime64",
     "avgOrNullIf", "argMaxMap", "lambda", "CAST"],
)  # fmt: skip
def test_allowed(name: str) -> None:
    assert is_allowed_function(name)


@pytest.mark.parametrize(
    "name",
    ["file", "FILE", "fileIf", "if_", "If", "MapIf", "sleepIf", "dictGetIf", "", "sum ", "summ",
     "t.sum", "file\0", "toStringIf", "State", "python"],
)  # fmt: skip
def test_refused(name: str) -> None:
    assert is_allowed_function(name) == (name == "If")
