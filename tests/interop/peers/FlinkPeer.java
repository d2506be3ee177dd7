// SPDX-License-Identifier: Apache-2.0
//
// Flink's table API in a mini cluster of this process, in batch mode. Statements come on standard
// input, each with a NUL behind it; answers go to standard output, a line each:
//
//   row VALUE<TAB>VALUE...    files N (data files that a scan was planned to read)
//   ok | failed REASON        the end of a statement
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Scanner;
import java.util.StringJoiner;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.ResultKind;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.api.TableResult;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;
import org.apache.iceberg.metrics.MetricsReport;
import org.apache.iceberg.metrics.MetricsReporter;
import org.apache.iceberg.metrics.ScanReport;

public final class FlinkPeer {
  static final PrintStream OUT =
      new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);

  private FlinkPeer() {}

  /** Named as the catalog's metrics-reporter-impl: Flink's own scans tell it what they plan. */
  public static final class Reporter implements MetricsReporter {
    @Override
    public void initialize(Map<String, String> properties) {}

    @Override
    public void report(MetricsReport report) {
      if (report instanceof ScanReport) {
        OUT.println("files " + ((ScanReport) report).scanMetrics().resultDataFiles().value());
      }
    }
  }

  private static void answer(TableResult result) throws Exception {
    if (result.getResultKind() != ResultKind.SUCCESS_WITH_CONTENT) {
      result.await();
      return;
    }
    try (CloseableIterator<Row> rows = result.collect()) {
      while (rows.hasNext()) {
        Row row = rows.next();
        StringJoiner values = new StringJoiner("\t", "row ", "");
        for (int i = 0; i < row.getArity(); i++) {
          values.add(String.valueOf(row.getField(i)));
        }
        OUT.println(values);
      }
    }
  }

  public static void main(String[] arguments) throws Exception {
    System.setOut(System.err);
    Configuration settings = new Configuration();
    settings.setString("execution.target", "local");
    settings.setString("rest.address", "127.0.0.1");
    settings.setString("rest.bind-address", "127.0.0.1");
    settings.setString("parallelism.default", "1");
    settings.setString("table.local-time-zone", "UTC");
    TableEnvironment tables =
        TableEnvironment.create(
            EnvironmentSettings.newInstance().inBatchMode().withConfiguration(settings).build());
    Scanner statements = new Scanner(System.in, StandardCharsets.UTF_8).useDelimiter("\0");
    while (statements.hasNext()) {
      try {
        answer(tables.executeSql(statements.next()));
        OUT.println("ok");
      } catch (Exception e) {
        Throwable cause = e;
        while (cause.getCause() != null) {
          cause = cause.getCause();
        }
        OUT.println("failed " + String.valueOf(cause).replace('\n', ' '));
      }
    }
    System.exit(0);
  }
}
