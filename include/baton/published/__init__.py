"""What partitions publish: rows as sorted objects of the store, found by key without reading a table. Imports floors 0 to 3.

The publishing commit puts them in force (`writing`), the table `published` names them, `rows` reads them by partition and key,
`index` says in which partitions a key may be, `keyed` reads single row groups, and `carrying` takes over what tables held.
"""
