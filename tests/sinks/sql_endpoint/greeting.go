// Asks the endpoint with clickhouse-go over HTTP, opened by a ping, as Grafana's ClickHouse plugin
// does. Arguments: address, user, password, compression (gzip as Grafana, or lz4, the default of
// others), queries. Prints a line for each query: its columns, number of rows, and error. A query
// that begins with INSERT gets 1000 rows (number, text) in a batch.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

func insert(database *sql.DB, query string) error {
	transaction, err := database.Begin()
	if err != nil {
		return err
	}
	batch, err := transaction.Prepare(query)
	if err != nil {
		return err
	}
	for number := range 1000 {
		if _, err := batch.Exec(uint64(number), fmt.Sprint(number)); err != nil {
			return err
		}
	}
	return transaction.Commit()
}

func main() {
	method := clickhouse.CompressionGZIP
	if os.Args[4] == "lz4" {
		method = clickhouse.CompressionLZ4
	}
	database := clickhouse.OpenDB(&clickhouse.Options{
		Addr:        []string{os.Args[1]},
		Protocol:    clickhouse.HTTP,
		Auth:        clickhouse.Auth{Database: "default", Username: os.Args[2], Password: os.Args[3]},
		Compression: &clickhouse.Compression{Method: method},
		DialTimeout: 10 * time.Second,
		ReadTimeout: 60 * time.Second,
	})
	if err := database.PingContext(context.Background()); err != nil {
		fmt.Println("ping:", err)
		os.Exit(1)
	}
	for _, query := range os.Args[5:] {
		if strings.HasPrefix(query, "INSERT") {
			fmt.Println("inserted", insert(database, query))
			continue
		}
		rows, err := database.QueryContext(context.Background(), query)
		if err != nil {
			fmt.Println("refused:", err)
			continue
		}
		columns, _ := rows.Columns()
		count := 0
		for rows.Next() {
			values := make([]any, len(columns))
			for i := range values {
				values[i] = new(any)
			}
			if err := rows.Scan(values...); err != nil {
				fmt.Println("scan:", err)
			}
			count++
		}
		fmt.Println(columns, count, rows.Err())
		rows.Close()
	}
}
