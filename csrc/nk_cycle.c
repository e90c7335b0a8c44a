/* nk_cycle.c - cycles of the market graph, screened by the best prices.
 *
 * The cycles are enumerated by walking from every arc to arcs with higher numbers, so that each is
 * found once, from its lowest arc. Two passes: the first counts, the second writes.
 */
#include "nk_cycle.h"

#include <stdlib.h>
#include <string.h>

#define TABLE_COUNT (NK_CYCLE_LENGTH_MAX - NK_CYCLE_LENGTH_MIN + 1)

/* Arcs by the asset they leave. */
typedef struct graph {
    const nk_cycle_market *markets;
    const bool *is_start;
    int32_t *first; /* asset_count + 2 places in arcs */
    int32_t *arcs;
    int32_t max_length;
} graph;

/* What is done with each cycle that is found: counted, then written. */
typedef struct sink {
    nk_cycle_table *tables; /* of the new index */
    int64_t found[TABLE_COUNT];
    bool is_writing;
} sink;

static int32_t
arc_from(const nk_cycle_market *markets, int32_t arc)
{
    return arc % 2 == 0 ? markets[arc / 2].base : markets[arc / 2].quote;
}

static int32_t
arc_to(const nk_cycle_market *markets, int32_t arc)
{
    return arc % 2 == 0 ? markets[arc / 2].quote : markets[arc / 2].base;
}

static bool
graph_init(graph *g, int32_t market_count, int32_t asset_count)
{
    g->first = calloc((size_t)asset_count + 2, sizeof g->first[0]);
    g->arcs = malloc((2 * (size_t)market_count + 1) * sizeof g->arcs[0]);
    if (g->first == NULL || g->arcs == NULL) {
        return false;
    }
    int32_t arc_count = 2 * market_count;
    /* Counting sort: first[asset + 1] becomes the place of the asset's next arc. */
    for (int32_t arc = 0; arc < arc_count; arc++) {
        if (g->markets[arc / 2].is_listed) {
            g->first[arc_from(g->markets, arc) + 2]++;
        }
    }
    for (int32_t i = 2; i <= asset_count + 1; i++) {
        g->first[i] += g->first[i - 1];
    }
    for (int32_t arc = 0; arc < arc_count; arc++) {
        if (g->markets[arc / 2].is_listed) {
            g->arcs[g->first[arc_from(g->markets, arc) + 1]++] = arc;
        }
    }
    return true;
}

static void
graph_free(graph *g)
{
    free(g->first);
    free(g->arcs);
}

static void
found(const graph *g, sink *to, const int32_t *arcs, int32_t length)
{
    bool has_start = false;
    for (int32_t i = 0; i < length; i++) {
        has_start = has_start || g->is_start[arc_from(g->markets, arcs[i])];
    }
    if (!has_start) {
        return;
    }
    int64_t place = to->found[length - NK_CYCLE_LENGTH_MIN]++;
    nk_cycle_table *table = &to->tables[length - NK_CYCLE_LENGTH_MIN];
    if (to->is_writing) {
        memcpy(&table->cycles[place * length], arcs, (size_t)length * sizeof arcs[0]);
    } else {
        for (int32_t i = 0; i < length; i++) {
            table->starts[arcs[i] + 1]++;
        }
    }
}

static int32_t
degree(const graph *g, int32_t asset)
{
    return g->first[asset + 1] - g->first[asset];
}

/* Close a path with every arc back to its origin. Of the two assets one may have hundreds of
 * arcs; the arcs into an asset are those out of it, reversed. */
static void
close_path(const graph *g, sink *to, int32_t *arcs, int32_t length)
{
    int32_t here = arc_to(g->markets, arcs[length - 1]);
    int32_t origin = arc_from(g->markets, arcs[0]);
    bool is_reversed = degree(g, origin) < degree(g, here);
    int32_t listed = is_reversed ? origin : here;
    for (int32_t i = g->first[listed]; i < g->first[listed + 1]; i++) {
        int32_t arc = is_reversed ? g->arcs[i] ^ 1 : g->arcs[i];
        if (arc > arcs[0] && arc_from(g->markets, arc) == here &&
            arc_to(g->markets, arc) == origin) {
            arcs[length] = arc;
            found(g, to, arcs, length + 1);
        }
    }
}

/* Extend a path by every arc that keeps its assets distinct, and close it where it may end. */
static void
extend(const graph *g, sink *to, int32_t *arcs, int32_t length)
{
    if (length + 1 >= NK_CYCLE_LENGTH_MIN) {
        close_path(g, to, arcs, length);
    }
    /* max_length never passes the limit; saying so here lets the compiler see it, too. */
    if (length + 1 >= g->max_length || length + 1 >= NK_CYCLE_LENGTH_MAX) {
        return;
    }
    int32_t here = arc_to(g->markets, arcs[length - 1]);
    for (int32_t i = g->first[here]; i < g->first[here + 1]; i++) {
        int32_t next = arc_to(g->markets, g->arcs[i]);
        bool is_visited = false;
        for (int32_t j = 0; j < length; j++) {
            is_visited = is_visited || arc_from(g->markets, arcs[j]) == next;
        }
        if (g->arcs[i] > arcs[0] && !is_visited) {
            arcs[length] = g->arcs[i];
            extend(g, to, arcs, length + 1);
        }
    }
}

static void
enumerate(const graph *g, sink *to, int32_t arc_count, bool is_writing)
{
    int32_t arcs[NK_CYCLE_LENGTH_MAX];
    memset(to->found, 0, sizeof to->found);
    to->is_writing = is_writing;
    for (int32_t arc = 0; arc < arc_count; arc++) {
        if (g->markets[arc / 2].is_listed) {
            arcs[0] = arc;
            extend(g, to, arcs, 1);
        }
    }
}

static void
table_free(nk_cycle_table *table)
{
    free(table->cycles);
    free(table->others);
    free(table->starts);
    memset(table, 0, sizeof *table);
}

/* Take the memory for the cycles that were counted, and turn the counts into places. */
static bool
table_allocate(nk_cycle_table *table, int32_t length, int32_t arc_count, int64_t count)
{
    table->count = count;
    for (int32_t arc = 0; arc < arc_count; arc++) {
        table->starts[arc + 1] += table->starts[arc];
    }
    size_t arcs = (size_t)count * (size_t)length;
    table->cycles = malloc((arcs + 1) * sizeof table->cycles[0]);
    table->others = malloc((arcs * (size_t)(length - 1) + 1) * sizeof table->others[0]);
    return table->cycles != NULL && table->others != NULL;
}

static void
table_fill_others(nk_cycle_table *table, int32_t length, int32_t arc_count)
{
    for (int64_t i = 0; i < table->count; i++) {
        const int32_t *arcs = &table->cycles[i * length];
        for (int32_t j = 0; j < length; j++) {
            int32_t *others = &table->others[table->starts[arcs[j]]++ * (length - 1)];
            for (int32_t k = 1; k < length; k++) {
                others[k - 1] = arcs[(j + k) % length];
            }
        }
    }
    /* Every place has moved on to where the next arc begins. */
    memmove(&table->starts[1], &table->starts[0], (size_t)arc_count * sizeof table->starts[0]);
    table->starts[0] = 0;
}

void
nk_cycle_free(nk_cycle *index)
{
    for (int32_t i = 0; i < TABLE_COUNT; i++) {
        table_free(&index->tables[i]);
    }
    free(index->rates);
    memset(index, 0, sizeof *index);
}

static bool
build_tables(nk_cycle *fresh, const graph *g, int32_t arc_count)
{
    sink to = {fresh->tables, {0}, false};
    for (int32_t i = 0; i < TABLE_COUNT; i++) {
        fresh->tables[i].starts = calloc((size_t)arc_count + 1, sizeof(int64_t));
        if (fresh->tables[i].starts == NULL) {
            return false;
        }
    }
    enumerate(g, &to, arc_count, false);
    for (int32_t i = 0; i < TABLE_COUNT; i++) {
        if (!table_allocate(&fresh->tables[i], i + NK_CYCLE_LENGTH_MIN, arc_count, to.found[i])) {
            return false;
        }
    }
    enumerate(g, &to, arc_count, true);
    for (int32_t i = 0; i < TABLE_COUNT; i++) {
        table_fill_others(&fresh->tables[i], i + NK_CYCLE_LENGTH_MIN, arc_count);
    }
    return true;
}

nk_status
nk_cycle_build(nk_cycle *index, nk_cycle_market *markets, int32_t market_count,
               const bool *is_start, int32_t asset_count, int32_t max_length)
{
    assert(market_count >= 0 && market_count <= NK_CYCLE_MARKETS_MAX);
    assert(max_length >= NK_CYCLE_LENGTH_MIN && max_length <= NK_CYCLE_LENGTH_MAX);
    nk_cycle fresh;
    memset(&fresh, 0, sizeof fresh);
    fresh.markets = markets;
    fresh.market_count = market_count;
    fresh.max_length = max_length;
    fresh.rates = calloc(2 * (size_t)market_count + 1, sizeof fresh.rates[0]);
    graph g = {markets, is_start, NULL, NULL, max_length};
    bool has_room = fresh.rates != NULL && graph_init(&g, market_count, asset_count) &&
                    build_tables(&fresh, &g, 2 * market_count);
    graph_free(&g);
    if (!has_room) {
        nk_cycle_free(&fresh);
        return NK_E_MEMORY;
    }
    nk_cycle_free(index);
    *index = fresh;
    return NK_OK;
}

void
nk_cycle_refresh(nk_cycle *index, int32_t market)
{
    assert(market >= 0 && market < index->market_count);
    const nk_cycle_market *it = &index->markets[market];
    double *rates = &index->rates[2 * market];
    nk_level bid = {0, 0};
    nk_level ask = {0, 0};
    rates[0] = 0;
    rates[1] = 0;
    if (it->book == NULL || it->book->state != NK_BOOK_LIVE || !it->is_listed) {
        return;
    }
    bool has_bid = nk_side_best(&it->book->bids, &bid);
    bool has_ask = nk_side_best(&it->book->asks, &ask);
    if (has_bid && has_ask && bid.price_ticks >= ask.price_ticks) {
        return;
    }
    if (has_bid && it->can_sell) {
        rates[0] = (double)bid.price_ticks * it->sell_scale;
    }
    if (has_ask && it->can_buy) {
        rates[1] = it->buy_scale / (double)ask.price_ticks;
    }
}

static void
hit_write(nk_cycle_hit *hit, double ratio, const int32_t *arcs, int32_t length)
{
    hit->ratio = ratio;
    hit->length = length;
    memcpy(hit->arcs, arcs, (size_t)length * sizeof arcs[0]);
}

int64_t
nk_cycle_screen_market(const nk_cycle *index, int32_t market, double limit, nk_cycle_hit *hits,
                       int64_t capacity)
{
    assert(market >= 0 && market < index->market_count && limit > 0);
    const double *rates = index->rates;
    int64_t count = 0;
    for (int32_t arc = 2 * market; arc < 2 * market + 2; arc++) {
        if (rates[arc] == 0) {
            continue;
        }
        for (int32_t length = NK_CYCLE_LENGTH_MIN; length <= index->max_length; length++) {
            const nk_cycle_table *table = &index->tables[length - NK_CYCLE_LENGTH_MIN];
            for (int64_t i = table->starts[arc]; i < table->starts[arc + 1]; i++) {
                const int32_t *others = &table->others[i * (length - 1)];
                double ratio = rates[arc] * rates[others[0]] * rates[others[1]];
                if (length == NK_CYCLE_LENGTH_MAX) {
                    ratio *= rates[others[2]];
                }
                if (NK_UNLIKELY(ratio >= limit)) {
                    if (count < capacity) {
                        int32_t arcs[NK_CYCLE_LENGTH_MAX] = {arc, others[0], others[1], 0};
                        if (length == NK_CYCLE_LENGTH_MAX) {
                            arcs[3] = others[2];
                        }
                        hit_write(&hits[count], ratio, arcs, length);
                    }
                    count++;
                }
            }
        }
    }
    return count;
}

int64_t
nk_cycle_screen_all(const nk_cycle *index, double limit, nk_cycle_hit *hits, int64_t capacity)
{
    assert(limit > 0);
    const double *rates = index->rates;
    int64_t count = 0;
    for (int32_t length = NK_CYCLE_LENGTH_MIN; length <= index->max_length; length++) {
        const nk_cycle_table *table = &index->tables[length - NK_CYCLE_LENGTH_MIN];
        for (int64_t i = 0; i < table->count; i++) {
            const int32_t *arcs = &table->cycles[i * length];
            double ratio = rates[arcs[0]] * rates[arcs[1]] * rates[arcs[2]];
            if (length == NK_CYCLE_LENGTH_MAX) {
                ratio *= rates[arcs[3]];
            }
            if (NK_UNLIKELY(ratio >= limit)) {
                if (count < capacity) {
                    hit_write(&hits[count], ratio, arcs, length);
                }
                count++;
            }
        }
    }
    return count;
}
