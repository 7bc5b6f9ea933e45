// A line of recent values, without axes.
const WIDTH = 96;
const HEIGHT = 22;

export function Spark({ values, label }: { values: readonly number[]; label: string }) {
  if (values.length < 2) return <span class="spark" />;
  const max = Math.max(...values, 1e-9);
  const step = WIDTH / Math.max(values.length - 1, 20);
  const x = (i: number) => (WIDTH - (values.length - 1 - i) * step).toFixed(1);
  const y = (value: number) => (HEIGHT - 1.5 - (value / max) * (HEIGHT - 4)).toFixed(1);
  const line = values.map((value, i) => `${i ? 'L' : 'M'}${x(i)} ${y(value)}`).join('');
  return (
    <svg class="spark" width={WIDTH} height={HEIGHT} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={label}>
      <path class="area" d={`${line}L${WIDTH} ${HEIGHT}L${x(0)} ${HEIGHT}Z`} />
      <path class="line" d={line} />
    </svg>
  );
}
