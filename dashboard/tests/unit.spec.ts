// The functions that need no page.
import { expect, test } from '@playwright/test';

test.beforeAll(() => {
  Object.assign(globalThis, { localStorage: { getItem: () => null, setItem: () => {} }, sessionStorage: { getItem: () => null } });
});

test('numbers have three digits and a unit', async () => {
  const { short, bytes, duration, visible } = await import('../src/format.ts');
  expect([0, 0.5, 1, 12.34, 999, 1234, 56789, 1.5e6].map(short)).toEqual(['0', '0.5', '1', '12', '999', '1.23 k', '56.8 k', '1.50 M']);
  expect([0, 1023, 1024, 5 << 20].map(bytes)).toEqual(['0 B', '1023 B', '1.00 KiB', '5.00 MiB']);
  expect([0, 0.4, 950, 1500, 61_000, 3_700_000, 90_000_000].map(duration)).toEqual(['0 ms', '< 1 ms', '950 ms', '1.5 s', '1 min 1 s', '1 h 1 min', '1 d 1 h']);
  expect(visible('a\u202eb\u0000c\nd')).toBe('a⟨U+202E⟩b⟨U+0000⟩c\nd');
});

test('server-sent events are read in pieces of any size', async () => {
  const { SseParser } = await import('../src/api/sse.ts');
  const text = ': comment\n\nevent: job\ndata: {"a":1}\n\nevent: jobs\r\ndata: x\r\ndata: y\r\n\r\n';
  for (const size of [1, 2, 3, 7, 100]) {
    const parser = new SseParser();
    const events = [];
    for (let at = 0; at < text.length; at += size) events.push(...parser.push(text.slice(at, at + size)));
    expect(events).toEqual([{ event: 'job', data: '{"a":1}' }, { event: 'jobs', data: 'x\ny' }]);
  }
});
