// Asks the endpoint as Grafana's ClickHouse plugin does: clickhouse-go over HTTP with gzip, opened
// by a ping. Prints one line for each query: its columns, number of rows, and error.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

func main() {
	database := clickhouse.OpenDB(&clickhouse.Options{
		Addr:        []string{os.Args[1]},
		Protocol:    clickhouse.HTTP,
		Auth:        clickhouse.Auth{Database: "default", Username: os.Args[2], Password: os.Args[3]},
		Compression: &clickhouse.Compression{Method: clickhouse.CompressionGZIP},
		DialTimeout: 10 * time.Second,
		ReadTimeout: 60 * time.Second,
	})
	if err := database.PingContext(context.Background()); err != nil {
		fmt.Println("ping:", err)
		os.Exit(1)
	}
	for _, query := range os.Args[4:] {
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
