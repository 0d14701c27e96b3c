-- title: When entries of a watched folder appeared, changed or vanished
-- questions: 17
-- param node String = '': Node; empty for every one
-- param root String = '': Folder that is watched; empty for every one
-- param prefix String = '': Path that the files begin with; empty for all
-- param since DateTime64(6, 'UTC') = -1d: Begin, a time in UTC or like -2h
-- param until DateTime64(6, 'UTC') = now: End (not included)
SELECT ts, node, root, path, action, type, size, mtime
FROM tenwatch.hostpaths
WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
    AND action IN ('appeared', 'changed', 'vanished')
    AND ({node:String} = '' OR node = {node:String})
    AND ({root:String} = '' OR root = {root:String})
    AND startsWith(path, {prefix:String})
ORDER BY ts, seq
