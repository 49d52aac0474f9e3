//! Texts built by sea-query, and rows that become structs with postgres-from-row.

#![forbid(unsafe_code)]

use pgmonkey::{AsyncExecute, Config, ConnectionManager, Error};
use postgres_from_row::FromRow;
use sea_query::{Expr, ExprTrait, Iden, Order, PostgresQueryBuilder, Query};
use sea_query_postgres::PostgresBinder;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let pool = ConnectionManager::global().async_pool(&config).await?;
    for account in richer(&pool, 10, Some("bob")).await? {
        println!("{}: {}", account.name, account.money);
    }
    // The same function within a transaction.
    let left = pool
        .transaction(async |tx| {
            take(&tx, "bob", 45).await?;
            richer(&tx, 10, None).await
        })
        .await?;
    println!("{} left", left.len());
    Ok(())
}

// ANCHOR: row
#[derive(Debug, FromRow)]
struct Account {
    name: String,
    money: i32,
}
// ANCHOR_END: row

// ANCHOR: build
#[derive(Iden)]
enum Accounts {
    Table,
    Name,
    Money,
}

async fn richer(
    db: &impl AsyncExecute,
    than: i32,
    except: Option<&str>,
) -> Result<Vec<Account>, Error> {
    let (text, values) = Query::select()
        .columns([Accounts::Name, Accounts::Money])
        .from(Accounts::Table)
        .and_where(Expr::col(Accounts::Money).gt(than))
        .and_where_option(except.map(|name| Expr::col(Accounts::Name).ne(name)))
        .order_by(Accounts::Name, Order::Asc)
        .build_postgres(PostgresQueryBuilder);
    let rows = db.query(&*text, &values.as_params()).await?;
    Ok(rows.iter().map(Account::from_row).collect())
}
// ANCHOR_END: build

async fn take(db: &impl AsyncExecute, name: &str, amount: i32) -> Result<(), Error> {
    let (text, values) = Query::update()
        .table(Accounts::Table)
        .value(Accounts::Money, Expr::col(Accounts::Money).sub(amount))
        .and_where(Expr::col(Accounts::Name).eq(name))
        .build_postgres(PostgresQueryBuilder);
    db.execute(&*text, &values.as_params()).await?;
    Ok(())
}
